# Host routes to the peers with a locked MTU, where the pillar has one. The keeper brings them back.
{%- from 'ipsec/host.jinja' import host with context %}
include:
  - ipsec.check
  - ipsec.config

{%- if host.member %}
ipsec-routes-mtu:
  ipsec.routes_present:
    - require:
      - sls: ipsec.config
{%- endif %}

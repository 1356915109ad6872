# ipsec.conf, ipsec.secrets and strongswan.conf: tried, swapped in, and proven in charon.
{%- from 'ipsec/host.jinja' import host with context %}
include:
  - ipsec.check
  - ipsec.install
  - ipsec.certs
  - ipsec.sysctl

{%- if host.member %}
ipsec-config-connections:
  ipsec.configured:
    - name: {{ host.service }}
    - require:
      - sls: ipsec.install
      - sls: ipsec.certs
      - sls: ipsec.sysctl
{%- endif %}

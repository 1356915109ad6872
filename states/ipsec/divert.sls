# systemd runs strongswan-starter; the init script beside it would start a second one outside the unit. Without
# systemd the script is the service, and stays.
{%- from 'ipsec/host.jinja' import host with context %}
include:
  - ipsec.check

{%- if host.member and host.init_script %}
ipsec-divert-init-script:
  ipsec.diverted:
    - name: {{ host.init_script }}
    - to: {{ host.init_script_diverted }}
    - require:
      - sls: ipsec.check
{%- endif %}

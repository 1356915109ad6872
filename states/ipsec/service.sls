# The unit runs, and starts at boot.
{%- from 'ipsec/host.jinja' import host with context %}
include:
  - ipsec.check
  - ipsec.config

{%- if host.member %}
ipsec-service-running:
  service.running:
    - name: {{ host.service }}
    - enable: true
    - onlyif:  # the package brings the unit, enabled and running: nothing to predict before
      - fun: service.available
        args: [{{ host.service }}]
    - require:
      - sls: ipsec.config
{%- endif %}

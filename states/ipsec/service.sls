# The unit runs, and starts at boot.
{%- from 'ipsec/host.jinja' import host with context %}
include:
  - ipsec.check
  - ipsec.config

{%- if host.member and (not opts.test or salt['service.available'](host.service)) %}
{#- the package brings the unit, enabled and running: nothing to predict before. Not as `onlyif`: the first of
    that in a run has Salt load all of its states, two seconds of a processor #}
ipsec-service-running:
  service.running:
    - name: {{ host.service }}
    - enable: true
    - require:
      - sls: ipsec.config
{%- endif %}

# The unit runs, and starts at boot.
{%- from 'ipsec/host.jinja' import host with context %}
include:
  - ipsec.check
  - ipsec.config

{%- if host.member and opts.test and not salt['service.available'](host.service) %}
{#- The package brings the unit, enabled and running: nothing to predict before. As a condition here, not as
    `onlyif`: the first of these in a run has Salt load all of its states, two seconds of a processor. #}
ipsec-service-running:
  test.nop:
    - require:
      - sls: ipsec.config
{%- elif host.member %}
ipsec-service-running:
  service.running:
    - name: {{ host.service }}
    - enable: true
    - require:
      - sls: ipsec.config
{%- endif %}

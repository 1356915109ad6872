# Metrics for node_exporter, Prometheus or Graphite, where pillar ipsec:metrics asks for them; docs/monitoring.md
{%- from 'ipsec/host.jinja' import host with context %}
{%- set unit = '/etc/systemd/system/hostipsec-metrics.service' %}
include:
  - ipsec.check
  - ipsec.engine
  - ipsec.keeper

{%- if host.member and host.systemd and host.metrics.arguments %}
{%- if host.metrics.textfile %}
ipsec-metrics-directory:
  file.directory:
    - name: {{ host.metrics.textfile }}
    - makedirs: true
    - require:
      - sls: ipsec.check
{%- endif %}

ipsec-metrics-unit:
  file.managed:
    - name: {{ unit }}
    - source: salt://ipsec/files/hostipsec-metrics.service
    - template: jinja
    - context:
        metrics: {{ host.metrics | tojson }}
    - mode: '0644'
    - require:
      - sls: ipsec.check
      {%- if host.metrics.textfile %}
      - file: ipsec-metrics-directory
      {%- endif %}

ipsec-metrics-running:
  service.running:
    - name: hostipsec-metrics
    - enable: true
    - require:
      - sls: ipsec.keeper
    - watch:
      - file: ipsec-metrics-unit
      - ipsec: ipsec-engine-files
{%- elif host.member and salt['file.file_exists'](unit) %}
ipsec-metrics-dead:
  service.dead:
    - name: hostipsec-metrics
    - enable: false
    - require:
      - sls: ipsec.check

ipsec-metrics-absent:
  file.absent:
    - name: {{ unit }}
    - require:
      - service: ipsec-metrics-dead
{%- endif %}

# Metrics for node_exporter, Prometheus or Graphite, where pillar ipsec:metrics asks for them; docs/monitoring.md
{%- from 'ipsec/host.jinja' import host with context %}
{%- set unit = '/etc/init.d/hostipsec-metrics' if host.member and host.scripts else '/etc/systemd/system/hostipsec-metrics.service' %}
include:
  - ipsec.check
  - ipsec.engine
  - ipsec.keeper

{%- if host.member and (host.systemd or host.scripts) and host.metrics.arguments %}
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
    - template: jinja
{%- if host.systemd %}
    - source: salt://ipsec/files/hostipsec-metrics.service
    - context:
        metrics: {{ host.metrics | tojson }}
    - mode: '0644'
{%- else %}
    - source: salt://ipsec/files/hostipsec-daemon
    - context:
        name: hostipsec-metrics
        description: Serve metrics of the IPsec mesh
        program: metrics
        after: hostipsec-keeper
        arguments: {{ host.metrics.arguments | join(' ') | tojson }}
    - mode: '0755'
{%- endif %}
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

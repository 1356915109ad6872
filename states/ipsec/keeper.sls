# Starts what should be up and is not: charon gives up for good where a peer answered with an error.
{%- from 'ipsec/host.jinja' import host with context %}
include:
  - ipsec.check
  - ipsec.engine
  - ipsec.service

{%- if host.member and host.systemd %}
ipsec-keeper-unit:
  file.managed:
    - name: /etc/systemd/system/hostipsec-keeper.service
    - source: salt://ipsec/files/hostipsec-keeper.service
    - mode: '0644'
    - require:
      - sls: ipsec.check

ipsec-keeper-running:
  service.running:
    - name: hostipsec-keeper
    - enable: true
    - require:
      - sls: ipsec.service
    - watch:
      - file: ipsec-keeper-unit
      - ipsec: ipsec-engine-files
{%- endif %}

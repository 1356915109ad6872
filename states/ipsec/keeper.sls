# Starts what should be up and is not: charon gives up for good where a peer answered with an error.
{%- from 'ipsec/host.jinja' import host with context %}
include:
  - ipsec.check
  - ipsec.engine
  - ipsec.service

{%- if host.member and (host.systemd or host.scripts) %}
ipsec-keeper-unit:
  file.managed:
{%- if host.systemd %}
    - name: /etc/systemd/system/hostipsec-keeper.service
    - source: salt://ipsec/files/hostipsec-keeper.service
    - mode: '0644'
{%- else %}
    - name: /etc/init.d/hostipsec-keeper
    - source: salt://ipsec/files/hostipsec-daemon
    - template: jinja
    - context:
        name: hostipsec-keeper
        description: Start connections of the IPsec mesh that should be up and are not
        program: keeper
        after: ipsec
        arguments: ''
    - mode: '0755'
{%- endif %}
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

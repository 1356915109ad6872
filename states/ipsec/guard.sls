# Stage 'require': nothing goes or is accepted in the clear, whatever becomes of charon.
{%- from 'ipsec/host.jinja' import host with context %}
include:
  - ipsec.check
  - ipsec.config
  - ipsec.engine

{%- if host.member %}
ipsec-guard-policies:
  ipsec.guarded:
    - require:
      - sls: ipsec.config

{%- if host.systemd %}
ipsec-guard-unit:
  file.managed:
    - name: /etc/systemd/system/hostipsec-guard.service
    - source: salt://ipsec/files/hostipsec-guard.service
    - mode: '0644'
    - require:
      - sls: ipsec.check

ipsec-guard-enabled:
  service.enabled:
    - name: hostipsec-guard
    - require:
      - file: ipsec-guard-unit
      - sls: ipsec.engine
{%- elif host.scripts %}
ipsec-guard-script:
  file.managed:
    - name: /etc/init.d/hostipsec-guard
    - source: salt://ipsec/files/hostipsec-guard
    - mode: '0755'
    - require:
      - sls: ipsec.check

ipsec-guard-enabled:
  service.enabled:
    - name: hostipsec-guard
    - require:
      - file: ipsec-guard-script
      - sls: ipsec.engine
{%- endif %}
{%- endif %}

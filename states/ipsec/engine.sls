# The engine for programs that work with no Salt process alive.
{%- from 'ipsec/host.jinja' import host with context %}
include:
  - ipsec.check
  - ipsec.install

{%- if host.member %}
ipsec-engine-files:
  ipsec.engine_shared:
    - name: /usr/local/lib/hostipsec/hostipsec
    - require:
      - sls: ipsec.check

{%- if host.vici %}
ipsec-engine-vici:
  ipsec.vici_shared:
    - name: /usr/local/lib/hostipsec/vici
    - require:
      - sls: ipsec.install
      - ipsec: ipsec-engine-files
{%- endif %}

ipsec-engine-command:
  file.managed:
    - name: /usr/local/sbin/ipsec-global
    - source: salt://ipsec/files/ipsec-global
    - mode: '0755'
    - require:
      - ipsec: ipsec-engine-files

ipsec-engine-completion:
  file.managed:
    - name: /usr/local/share/bash-completion/completions/ipsec-global
    - source: salt://ipsec/files/ipsec-global.bash
    - makedirs: true
    - mode: '0644'
    - require:
      - file: ipsec-engine-command

ipsec-engine-login:
  file.managed:
    - name: /etc/update-motd.d/60-hostipsec-hold
    - source: salt://ipsec/files/60-hostipsec-hold
    - makedirs: true
    - mode: '0755'
    - require:
      - file: ipsec-engine-command
{%- endif %}

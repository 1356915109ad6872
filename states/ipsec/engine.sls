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

# For Icinga, Nagios and their like; docs/monitoring.md
ipsec-engine-check:
  file.managed:
    - name: /usr/local/lib/nagios/plugins/check_ipsec
    - source: salt://ipsec/files/check_ipsec
    - makedirs: true
    - mode: '0755'
    - require:
      - ipsec: ipsec-engine-files
{%- if salt['file.file_exists']('/usr/sbin/visudo') %}

ipsec-engine-check-rights:
  file.managed:
    - name: /etc/sudoers.d/hostipsec-check
    - source: salt://ipsec/files/hostipsec-check.sudoers
    - mode: '0440'
    - check_cmd: /usr/sbin/visudo -c -q -f
    - require:
      - file: ipsec-engine-check
{%- endif %}
{%- endif %}

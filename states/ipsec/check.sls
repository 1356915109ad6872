# Pillar, certificate, key and CA are right, and the kernel has what ESP needs, or nothing is touched. Only the programs
# that look at the host come before: a minimal one has none of them.
{%- from 'ipsec/host.jinja' import host with context %}
{%- from 'ipsec/synced.jinja' import synced, lacking with context %}
{%- if synced %}
ipsec-check-input:
  ipsec.checked: []
{%- if host.member %}

ipsec-check-tools:
  pkg.installed:
    - pkgs: {{ host.tools | tojson }}
    - require:
      - ipsec: ipsec-check-input

ipsec-check-esp:
  ipsec.esp_available:
    - require:
      - pkg: ipsec-check-tools
{%- endif %}
{%- else %}
ipsec-check-synced:
  test.fail_without_changes:
    - comment: {{ lacking | tojson }}
{%- endif %}

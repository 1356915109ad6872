# Packages by release, and strongSwan's Python library for Salt.
{%- from 'ipsec/host.jinja' import host with context %}
include:
  - ipsec.check
  - ipsec.divert

{%- if host.member %}
ipsec-install-remembered:
  ipsec.remembered:
    - packages: {{ host.every_package | tojson }}
    - sysctls: {{ host.sysctl | sort | tojson }}
    - require:
      - sls: ipsec.check

ipsec-install-packages:
  pkg.installed:
    - pkgs: {{ host.packages | tojson }}
    - require:
      - sls: ipsec.check
      - ipsec: ipsec-install-remembered
      {%- if host.init_script %}
      - sls: ipsec.divert
      {%- endif %}

{%- if host.vici %}
ipsec-install-vici:
  ipsec.vici_present:
    - name: vici>=5.9,<7
    - require:
      - sls: ipsec.check
      - ipsec: ipsec-install-remembered
{%- endif %}
{%- endif %}

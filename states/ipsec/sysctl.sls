# Each value and its reason: docs/sysctls.md.
{%- from 'ipsec/host.jinja' import host with context %}
include:
  - ipsec.check
  - ipsec.install  # which keeps the values of before

{%- if host.member and opts.test and not salt['cmd.has_exec']('sysctl') %}
{#- Salt's state would raise: procps is to be installed first #}
ipsec-sysctl-later:
  test.nop:
    - require:
      - sls: ipsec.check
{%- elif host.member %}
{%- for key, value in host.sysctl | dictsort %}
ipsec-sysctl-{{ key }}:
  sysctl.present:
    - name: {{ key }}
    - value: '{{ value }}'
    - config: /etc/sysctl.d/60-ipsec.conf
    - require:
      - sls: ipsec.check
      - ipsec: ipsec-install-remembered
{%- endfor %}
{%- endif %}

# The certificate, key and CA that the host has already, copied to where charon may read them.
{%- from 'ipsec/host.jinja' import host with context %}
include:
  - ipsec.check
  - ipsec.install

{%- if host.member %}
ipsec-certs-reused:
  ipsec.certificate_reused:
    - name: {{ host.certificates }}
    - require:
      - sls: ipsec.install
{%- endif %}

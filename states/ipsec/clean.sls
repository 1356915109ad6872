# Take this package off a host: never included, always asked for (state.apply ipsec.clean). Needs no pillar.
{%- from 'ipsec/synced.jinja' import synced, lacking with context %}
{%- if synced %}
ipsec-clean-host:
  ipsec.cleaned: []
{%- else %}
ipsec-clean-synced:
  test.fail_without_changes:
    - comment: {{ lacking | tojson }}
{%- endif %}

# Take this package off a host: never included, always asked for (state.apply ipsec.clean). Needs no pillar.
{%- if 'ipsec_host.facts' in salt %}
ipsec-clean-host:
  ipsec.cleaned: []
{%- else %}
ipsec-clean-synced:
  test.fail_without_changes:
    - comment: "This minion does not have the modules of this version. Run: salt '{{ grains.id }}' saltutil.sync_all"
{%- endif %}

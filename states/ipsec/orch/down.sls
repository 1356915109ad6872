{#- salt-run state.orchestrate ipsec.orch.down pillar='{reason: T195365, sites: [esams, codfw], threshold: 1}'

    One site after the other; where more than `threshold` hosts of a site are not down, the next is left alone.
    In the end all are asked again, and without `sites` hosts that left the pillar as well: the exit status is 0
    only where every host is down, and proven. -#}
{%- set fleet = salt['saltutil.runner']('ipsec.sites', kwarg={'only': pillar.get('sites')}) %}
{%- set asked = fleet['asked'] %}
{%- set reason = pillar.get('reason', '') %}

{%- for site in fleet['sites'] %}
ipsec-orch-down-{{ site['name'] }}:
  salt.runner:
    - name: ipsec.down
    - brief: True
    - site: {{ site['name'] | yaml_dquote }}
    - reason: {{ reason | string | yaml_dquote }}
    {%- if 'deadline' in pillar %}
    - deadline: {{ pillar['deadline'] }}
    {%- endif %}
    - timeout: {{ pillar.get('timeout', 15) }}
    - threshold: {{ pillar.get('threshold', 1) }}
    - asked: {{ asked }}
    {%- if not loop.first %}
    - require:
      - salt: ipsec-orch-down-{{ loop.previtem['name'] }}
    {%- endif %}
{% endfor %}

{%- if fleet['sites'] %}
ipsec-orch-down-all:
  salt.runner:
    - name: ipsec.down
    - brief: True
    {%- if pillar.get('sites') %}
    - site: {{ fleet['sites'] | map(attribute='name') | list | json }}
    {%- endif %}
    - reason: {{ reason | string | yaml_dquote }}
    {%- if 'deadline' in pillar %}
    - deadline: {{ pillar['deadline'] }}
    {%- endif %}
    - timeout: {{ pillar.get('timeout', 15) }}
    - asked: {{ asked }}
    - require:
      - salt: ipsec-orch-down-{{ fleet['sites'][-1]['name'] }}
{%- else %}
ipsec-orch-down-refused:
  test.fail_without_changes:
    - name: {{ fleet['error'] | yaml_dquote }}
{%- endif %}

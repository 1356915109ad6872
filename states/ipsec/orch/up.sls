{#- salt-run state.orchestrate ipsec.orch.up pillar='{sites: [esams, codfw], threshold: 1}'

    One site after the other: its hosts lift their holds and start, and what they have with each other and with
    the sites before has to come up. Where more than `threshold` hosts do not start, or explain what does not
    come up, the next site is left alone. In the end all are waited for: the exit status is 0 only where every
    connection of every host is up. -#}
{%- set fleet = salt['saltutil.runner']('ipsec.sites', kwarg={'only': pillar.get('sites')}) %}
{%- set asked = fleet['asked'] %}
{%- set threshold = pillar.get('threshold', 1) %}
{%- set names = fleet['sites'] | map(attribute='name') | list %}

{%- for site in names %}
ipsec-orch-up-{{ site }}:
  salt.runner:
    - name: ipsec.up
    - brief: True
    - site: {{ site | yaml_dquote }}
    - wait: False
    - batch: {{ pillar.get('batch', 20) }}
    - jitter: {{ pillar.get('jitter', 2) }}
    - timeout: {{ pillar.get('timeout', 15) }}
    - threshold: {{ threshold }}
    - asked: {{ asked }}
    {%- if not loop.first %}
    - require:
      - salt: ipsec-orch-up-{{ loop.previtem }}-seen
    {%- endif %}

ipsec-orch-up-{{ site }}-seen:
  salt.runner:
    - name: ipsec.status
    - brief: True
    - within: {{ names[:loop.index] | json }}
    - wait: {{ pillar.get('deadline', 30) }}
    - timeout: {{ pillar.get('timeout', 15) }}
    - threshold: {{ threshold }}
    - require:
      - salt: ipsec-orch-up-{{ site }}
{% endfor %}

{%- if names %}
ipsec-orch-up-all:
  salt.runner:
    - name: ipsec.up
    - brief: True
    {%- if pillar.get('sites') %}
    - site: {{ names | json }}
    {%- endif %}
    {%- if 'deadline' in pillar %}
    - deadline: {{ pillar['deadline'] }}
    {%- endif %}
    - jitter: 0
    - timeout: {{ pillar.get('timeout', 15) }}
    - asked: {{ asked }}
    - require:
      - salt: ipsec-orch-up-{{ names[-1] }}-seen
{%- else %}
ipsec-orch-up-refused:
  test.fail_without_changes:
    - name: {{ fleet['error'] | yaml_dquote }}
{%- endif %}

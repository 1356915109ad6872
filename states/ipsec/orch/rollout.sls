{#- salt-run state.orchestrate ipsec.orch.rollout pillar='{batch: 4, back: True}'

    What `salt-run ipsec.rollout` does, as a step that other steps can require. With `back`, a roll-out that stops
    is taken back at once, and no other: the hosts that it changed run what they ran before. The exit status is 0
    only where the roll-out went through. -#}
ipsec-orch-rollout:
  salt.runner:
    - name: ipsec.rollout
    {%- for key in ('tgt', 'tgt_type', 'stage', 'batch', 'by', 'deadline', 'timeout', 'back') if key in pillar %}
    - {{ key }}: {{ pillar[key] | json }}
    {%- endfor %}

{#- Tell a webhook what changed: /srv/reactor/ipsec.sls at the master. It notifies and does nothing else, see
    docs/events.md. What a host said goes through tojson, so that no text of it can become a key or a call. -#}
ipsec-notify:
  runner.http.query:
    - args:
      - url: https://alerts.example/ipsec
      - method: POST
      - header_dict: {Content-Type: application/json}
      - data: {{ {'event': tag.partition('/ipsec/')[2], 'host': data['id'], 'data': data} | tojson | tojson }}

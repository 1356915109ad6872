# An example fleet, ready to copy: three sites, two clusters, one host that is to have no peers.
# Every key is explained in docs/pillar.md. `make demo` and the tests run exactly this file.
ipsec:
  hosts:
    cp1001.eqiad.example: {site: eqiad, cluster: text, ipv4: 10.64.0.11, ipv6: "2001:db8:1::11"}
    cp1002.eqiad.example: {site: eqiad, cluster: text, ipv4: 10.64.0.12, ipv6: "2001:db8:1::12"}
    cp2001.codfw.example: {site: codfw, cluster: text, ipv4: 10.192.0.11, ipv6: "2001:db8:2::11"}
    cp3001.esams.example: {site: esams, cluster: text, ipv4: 10.20.0.11, ipv6: "2001:db8:3::11"}
    cp3002.esams.example: {site: esams, cluster: text, ipv4: 10.20.0.12, ipv6: "2001:db8:3::12"}
    db1001.eqiad.example: {site: eqiad, cluster: db, ipv4: 10.64.0.21, ipv6: "2001:db8:1::21", alone: true}

  rules:
    - name: edge-to-core
      between: {site: [esams]}
      and: {site: [eqiad, codfw]}
      same: [cluster]
    - name: core-to-core
      between: {site: [eqiad]}
      and: {site: [codfw]}
      same: [cluster]

  expect:
    - {host: cp3001.esams.example, pairs_with: cp1001.eqiad.example}
    - {host: cp1001.eqiad.example, peers: 3}

  certificates: {source: puppet}

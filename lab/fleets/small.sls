# Three sites, one host each: small enough for User Mode Linux.
ipsec:
  hosts:
    cp1001.eqiad.example: {site: eqiad, cluster: text, ipv4: 10.64.0.11, ipv6: "2001:db8:1::11"}
    cp2001.codfw.example: {site: codfw, cluster: text, ipv4: 10.192.0.11, ipv6: "2001:db8:2::11"}
    cp3001.esams.example: {site: esams, cluster: text, ipv4: 10.20.0.11, ipv6: "2001:db8:3::11"}

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
    - {host: cp3001.esams.example, peers: 2}

  certificates: {source: puppet}

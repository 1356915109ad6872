# A roll-out by stages, site by site: one pair has to be encrypted, one site is on its way, one comes later.
# Keys are ECDSA; hosts have theirs from an intermediate CA, which `ca` holds beside the root.
ipsec:
  certificates:
    source: files
    certificate: /etc/fleet/pki/{short}.crt
    key: /etc/fleet/pki/{short}.key
    ca: /etc/fleet/pki/ca-chain.pem
    crl: /etc/fleet/pki/crl.pem
    subject: O=Example, OU=Fleet, CN={id}

  hosts:
    web1.north.example: {site: north, ipv4: 10.1.0.11, ipv6: "2001:db8:1::11"}
    web2.north.example: {site: north, ipv4: 10.1.0.12, ipv6: "2001:db8:1::12"}
    db1.south.example: {site: south, ipv4: 10.2.0.21, ipv6: "2001:db8:2::21"}
    db2.south.example: {site: south, ipv4: 10.2.0.22, ipv6: "2001:db8:2::22", maintenance: true}
    log1.west.example: {site: west, ipv4: 10.3.0.31, ipv6: "2001:db8:3::31"}
    log2.west.example: {site: west, ipv4: 10.3.0.32, ipv6: "2001:db8:3::32", maintenance: in-the-clear}
    old1.east.example: {site: east, ipv4: 10.4.0.41}

  rules:
    - {name: canary, between: {id: web1.north.example}, and: {id: db1.south.example}, stage: require}
    - {name: north-south, between: {site: north}, and: {site: south}}
    - {name: west, between: {site: west}, and: {site: [north, south]}, stage: passive}
    - {name: east-later, between: {site: east}, and: {site: {not: east}}, stage: "off"}

  expect:
    - {rule: canary, pairs: 1}
    - {rule: north-south, pairs: 3}
    - {host: old1.east.example, peers: 0}

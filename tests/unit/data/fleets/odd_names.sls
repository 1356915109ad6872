# Names of all kinds, hosts with IPv6 alone, and one with several interfaces: the address of the one that peers reach.
ipsec:
  certificates: {source: puppet}
  labels: [rack]

  hosts:
    DB-Primary: {site: hq, rack: A, ipv4: 10.0.0.1, ipv6: "2001:db8::1"}
    db_replica_2: {site: dr, rack: B, ipv4: 10.1.0.2, ipv6: "2001:db8:1::2"}
    db_replica_v4: {site: dr, rack: B, ipv4: 10.1.0.3, ipv6: "2001:db8:1::3"}
    "7": {site: hq, rack: "07", ipv6: "2001:db8::7"}
    Node1.Example.COM: {site: hq, rack: "08", ipv6: "2001:db8::8"}
    # eth0 is for management, eth1 for storage: peers use that of eth1
    x.dr.example: {site: dr, rack: "1.10", ipv6: "2001:db8:1:5::9"}
    x.hq.example: {site: hq, rack: "on", ipv6: "2001:db8::9", name: x-hq}

  rules:
    - {name: hq to dr, between: {site: hq}, and: {site: dr, rack: [B, "1.10"]}, stage: passive}

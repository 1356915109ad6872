# Two hosts by swanctl, Debian 12 and 13, and one by ipsec.conf, all pairs; the section `lab` is for the lab alone.
ipsec:
  hosts:
    cp1001.eqiad.example: {site: eqiad, cluster: text, ipv4: 10.64.0.11, ipv6: "2001:db8:1::11", backend: swanctl}
    cp2001.codfw.example: {site: codfw, cluster: text, ipv4: 10.192.0.11, ipv6: "2001:db8:2::11"}
    cp3001.esams.example: {site: esams, cluster: text, ipv4: 10.20.0.11, ipv6: "2001:db8:3::11", backend: auto}

  rules:
    - name: all-pairs
      between: {cluster: [text]}
      and: {cluster: [text]}

  certificates: {source: puppet}

lab:
  cp3001.esams.example: {debian: trixie}

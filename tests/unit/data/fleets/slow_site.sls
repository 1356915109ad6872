# One site has small ARM hosts behind a tunnel: another cipher and MTU there. Backups are long: other lifetimes.
ipsec:
  certificates: {source: puppet}

  hosts:
    app01.main.example: {site: main, role: app, ipv4: 10.10.0.1}
    app02.main.example: {site: main, role: app, ipv4: 10.10.0.2}
    store01.main.example: {site: main, role: store, ipv4: 10.10.0.9}
    app03.branch.example: {site: branch, role: app, ipv4: 10.20.0.3}
    app04.branch.example: {site: branch, role: app, ipv4: 10.20.0.4}
    pi01.barn.example: {site: barn, role: app, ipv4: 10.30.0.1}
    pi02.barn.example: {site: barn, role: app, ipv4: 10.30.0.2}

  rules:
    - name: barn
      between: {site: barn}
      and: {site: {not: barn}}
      ike: chacha20poly1305-prfsha256-x25519!
      esp: chacha20poly1305-x25519-noesn!
      mtu: 1380
    - name: backups
      between: {role: store}
      and: {role: {not: store}}
      lifetime: 8h
      ikelifetime: 12h
      margintime: 30m
      lifepackets: 3435973836
      marginpackets: 429496729
    - name: sites
      between: {role: app}
      and: {role: app}
      different: site

# Three data centres, two regions of a cloud, a partner: kafka everywhere, redis by shard, caches by cluster.
ipsec:
  certificates:
    source: files
    certificate: /etc/ssl/hosts/{id}.pem
    key: /etc/ssl/hosts/{id}.key
    ca: /etc/ssl/hosts/ca.pem

  hosts:
    kafka-ams1.example.org: {site: ams, role: kafka, ipv4: 192.0.2.11, ipv6: "2001:db8:a::11"}
    kafka-fra1.example.org: {site: fra, role: kafka, ipv4: 198.51.100.11, ipv6: "2001:db8:f::11"}
    kafka-lon1.example.org: {site: lon, role: kafka, ipv4: 203.0.113.11, ipv6: "2001:db8:10::11"}

    redis-ams1.example.org: {site: ams, role: redis, shard: [sessions, jobs], ipv4: 192.0.2.21, ipv6: "2001:db8:a::21"}
    redis-fra1.example.org: {site: fra, role: redis, shard: sessions, ipv4: 198.51.100.21, ipv6: "2001:db8:f::21"}
    redis-fra2.example.org: {site: fra, role: redis, shard: jobs, ipv4: 198.51.100.22, ipv6: "2001:db8:f::22"}
    redis-lon1.example.org: {site: lon, role: redis, shard: jobs, ipv4: 203.0.113.21, ipv6: "2001:db8:10::21"}

    cache-ams1.example.org: {site: ams, role: cache, cluster: text, ipv4: 192.0.2.31, ipv6: "2001:db8:a::31"}
    cache-ams2.example.org: {site: ams, role: cache, cluster: upload, ipv4: 192.0.2.32, ipv6: "2001:db8:a::32"}
    cache-fra1.example.org: {site: fra, role: cache, cluster: text, ipv4: 198.51.100.31, ipv6: "2001:db8:f::31"}
    # both clusters, and no IPv6 there yet
    cache-lon1.example.org: {site: lon, role: cache, cluster: [text, upload], ipv4: 203.0.113.31}

    # behind 1:1 NAT of the cloud, in one network
    app-eu1.example.org: {site: cloud-eu, role: app, ipv4: 198.18.0.7, local_ipv4: 10.0.0.7, nat: vpc-eu}
    app-eu2.example.org: {site: cloud-eu, role: app, ipv4: 198.18.0.8, local_ipv4: 10.0.0.8, nat: vpc-eu}
    app-us1.example.org: {site: cloud-us, role: app, ipv4: 198.18.1.7}

    # not ours: the partner's own machine, with the partner's CA
    gw.partner.example:
      managed: false
      role: partner
      ipv4: 203.0.113.200
      subject: "@gw.partner.example"
      ca: /etc/ssl/hosts/partner-ca.pem

    bastion-ams1.example.org: {site: ams, role: bastion, ipv4: 192.0.2.99, alone: true}

  rules:
    - name: kafka
      between: {role: kafka}
      and: {role: kafka}
      different: site
    - name: redis-shards
      between: {role: redis}
      and: {role: redis}
      same: shard
      different: site
    - name: caches
      between: {role: cache, site: lon}
      and: {role: cache, site: {not: lon}}
      same: cluster
    - name: cloud-to-kafka            # the cloud drops ESP
      between: {role: app}
      and: {id: 'kafka-*'}
      encapsulation: udp
      mtu: 1400
    - name: apps
      between: {role: app}
      and: {role: app}
      different: site
      encapsulation: udp
    - name: partner
      between: {role: partner}
      and: {role: kafka, site: ams}

  expect:
    - {host: redis-ams1.example.org, peers: 3}
    - {host: redis-fra1.example.org, not_pairs_with: redis-lon1.example.org}
    - {rule: caches, pairs: 3}

# ESP in charon itself (plugin kernel-libipsec), for a kernel without ESP: tunnel mode only.
ipsec:
  packages: [libcharon-extra-plugins]
  connection: {type: tunnel}
  charon:
    plugins:
      kernel-libipsec: {load: "yes", allow_peer_ts: "yes"}
      kernel-netlink: {fwmark: "!0x42"}
      socket-default: {fwmark: "0x42"}

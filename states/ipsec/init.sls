# Make this host a member of the mesh that pillar 'ipsec' describes.
include:
  - ipsec.check
  - ipsec.divert
  - ipsec.install
  - ipsec.certs
  - ipsec.sysctl
  - ipsec.config
  - ipsec.routes
  - ipsec.service
  - ipsec.engine
  - ipsec.guard
  - ipsec.keeper
  - ipsec.metrics

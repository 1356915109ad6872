"""IPsec for a fleet: topology, configuration, state and proof of host-to-host ESP.

Front ends (Salt module, states, runner, ``ipsec-global``, monitoring plugin) call this package; it knows
nothing of them. Its subpackages are rooms with doors in one direction: docs/design.md.
"""

__version__ = "0.1.0"

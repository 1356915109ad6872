"""IPsec for a fleet: topology, configuration, state and proof of host-to-host ESP.

Front ends (Salt module, states, runner, ``ipsec-global``, monitoring plugin) call this
package; it knows nothing of them. Modules named in ``PURE`` take values and return values:
they read no clock, no file, no process and no network (a test forbids the imports).
"""

__version__ = "0.1.0"

PURE = (
    "algorithms",
    "batches",
    "catalog",
    "certificate_rules",
    "defaults",
    "difference",
    "durations",
    "errors",
    "fleetplan",
    "fleetrollout",
    "folded",
    "health",
    "hold",
    "joined",
    "kernelnames",
    "leftovers",
    "membership",
    "mesh",
    "model",
    "options",
    "overhead",
    "packets",
    "pillar",
    "pins",
    "plane",
    "planwords",
    "platforms",
    "proposals",
    "reader",
    "reasons",
    "render",
    "routes",
    "selection",
    "settings",
    "statusall",
    "topology",
    "values",
    "verify",
    "vicimessage",
    "xfrm",
)

"""Blocks what is in the clear between hosts that require IPsec (:mod:`hostipsec.kernel.guard`).

Run as ``hostipsec-guard.service``, before the network is up. Of a record that cannot be read it blocks what
ipsec.conf still says; the unit has failed then all the same, since that may be too little.
"""

from __future__ import annotations

import argparse
import sys

from .. import paths
from ..errors import HostIPsecError
from ..kernel import guard
from ..store import holdfile, record


def main() -> int:
    """Set the guard's policies from the record of this host's connections."""
    argparse.ArgumentParser(prog="hostipsec-guard", description=__doc__.splitlines()[0]).parse_args()
    try:
        connections = record.read().connections
        if connections or paths.here.record.exists():
            guard.apply(holdfile.free(connections))
        record.written()
    except (HostIPsecError, OSError) as error:
        print(error, file=sys.stderr)  # noqa: T201  for the journal
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

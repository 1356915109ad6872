"""Blocks what is in the clear between hosts that require IPsec (:mod:`hostipsec.kernel.guard`).

Run as ``hostipsec-guard.service``, before the network is up. Where the record cannot be read it blocks what
the copy of it says, else ipsec.conf, and lifts nothing; the unit has failed then all the same, since that may
be too little. So it has where it cannot be read what is held: it blocks, and lifts nothing.
"""

from __future__ import annotations

import argparse
import sys

from ..errors import HostIPsecError
from ..kernel import guard
from ..store import holdfile, record


def main() -> int:
    """Set the guard's policies from the record of this host's connections."""
    argparse.ArgumentParser(prog="hostipsec-guard", description=__doc__.splitlines()[0]).parse_args()
    try:
        known = record.found()
        wrong = "; ".join(filter(None, (known.wrong, holdfile.found().wrong)))
        free = holdfile.free(known.record.guarded)
        if wrong or known.guessed:
            guard.add(free)
        else:
            guard.apply(free)
        if wrong:
            raise HostIPsecError(wrong)
    except (HostIPsecError, OSError) as error:
        print(error, file=sys.stderr)  # noqa: T201  for the journal
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

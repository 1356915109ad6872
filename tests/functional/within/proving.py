"""Verify, on the host where this runs, the connections of a record; print what was found as JSON.

Arguments: the text of a ``mesh.json``, and a JSON object with what is asked for.
"""

from __future__ import annotations

import dataclasses
import json
import sys

from hostipsec.errors import HostIPsecError
from hostipsec.proof import verification
from hostipsec.store import record


def plain(proof):
    """Return a proof with its sentences, without what it is about."""
    found = dataclasses.asdict(proof)
    del found["connection"], found["tunnel"]
    return {**found, "tunnel": proof.tunnel.state, "ok": proof.ok, "reasons": list(proof.reasons)}


def main():
    """Verify and print."""
    try:
        asked = verification.Asked(**json.loads(sys.argv[2]))
        result = verification.run(record.parse(sys.argv[1]).connections, asked)
    except HostIPsecError as error:
        found = {"error": str(error)}
    else:
        proofs = {proof.connection.name: plain(proof) for proof in result.proofs}
        found = {"proofs": proofs, "plane": result.plane, "problems": list(result.problems)}
    sys.stdout.write(json.dumps(found) + "\n")


main()

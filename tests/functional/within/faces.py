"""Run on a host: each face as its program shows it, of looks that nothing repairs in between; prints JSON."""

import contextlib
import io
import json
import sys

sys.path.insert(0, "/usr/local/lib/hostipsec")

from hostipsec import paths
from hostipsec.programs import check, ipsec_global, keeper

check.PAUSE = 0.1


def printed(main, *arguments, eyes=False):
    """Return the exit status of a program, and what it printed."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out if eyes else io.StringIO()):
        status = main(list(arguments))
    return status, out.getvalue()


looking = keeper.Keeper()
looking.parts = looking.later = {}  # it looks, and leaves a sample
looking.once()
first = paths.here.sample.read_text()
command, eyes = (
    printed(ipsec_global.main, "status", "--json"),
    printed(ipsec_global.main, "status", eyes=True),
)
plugin, line = printed(check.main, "--json", "-t", "60"), printed(check.main, "-t", "60")
looking.once()
looking.close()
found = {"command": command, "eyes": eyes, "plugin": plugin, "line": line}
json.dump({**found, "samples": [first, paths.here.sample.read_text()]}, sys.stdout)

"""What a kernel is found to lack: with all there, and with modules taken away. In User Mode Linux only."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from hostipsec.kernel import capabilities
from hostipsec.strongswan import algorithms, proposals


def words(table):
    """Return the first keyword of each algorithm of the catalog."""
    return [line.split()[2] for line in table.splitlines()]


def every():
    """Return a proposal for each cipher and each integrity algorithm of the catalog."""
    for word in words(algorithms.ENCRYPTION):
        yield word if proposals.is_aead(proposals.KEYWORDS[word]) else f"{word}-sha256"
    yield from (f"aes128-{word}" for word in words(algorithms.INTEGRITY))


def main():
    """Ask before and after; print what is missing."""
    found = {"everything": {esp: capabilities.missing(esp, ("v4",)) for esp in every()}}
    for module in ("gcm", "esp6"):
        subprocess.run(["rmmod", module], check=True)
    Path("/proc/sys/kernel/modprobe").write_text("/bin/false")
    found["taken"] = capabilities.missing("aes128gcm16", ("v4", "v6"))
    sys.stdout.write(json.dumps(found) + "\n")


main()

"""Running a script of ``tests/functional/within`` where the kernel has ESP: by ``lab/with-esp``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from strongswan import unpacked

ROOT = Path(__file__).parents[2]
WITHIN = Path(__file__).parent / "within"


def environment() -> dict[str, str]:
    """Return the environment in which a script finds the engine, the helpers and vici."""
    import vici

    paths = [
        ROOT / "_utils",
        ROOT / "lab",
        ROOT / "tests",
        WITHIN.parent,
        WITHIN,
        Path(vici.__file__).parents[1],
    ]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))}


def run(script: str, *arguments: str, timeout: float = 150.0, options: Sequence[str] = ()) -> Any:
    """Return what a script printed: JSON, in its last line. It must end with status 0."""
    unpacked()  # there is no network inside
    done = subprocess.run(
        [
            *(str(ROOT / "lab/with-esp"), *options, "--timeout", f"{timeout:g}", "--"),
            *(sys.executable, "-B", str(WITHIN / script), *arguments),
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout + 90,
        check=False,
        env=environment(),
    )
    assert done.returncode == 0, f"{script}: status {done.returncode}\n{done.stdout}\n{done.stderr}"
    return json.loads(done.stdout.splitlines()[-1])

"""A host's modules and states as Salt loads them: in this process, or in one that runs on another host.

Salt is the real one with its real loaders, state compiler and pillar; there is no master and no daemon. The
file server's roots are a directory of links, as the README says.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SERVED = ("_modules", "_states", "_utils", "_output")
DIRECTORIES = {"module_dirs": "_modules", "states_dirs": "_states", "utils_dirs": "_utils"}
TOP = {"base": {"*": ["ipsec"]}}
HOST = "cp1001.eqiad.example"  # the host under test, of the example fleet
PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
NOW = datetime.now(timezone.utc)


class Minion:
    """A minion without a master; ``missing`` are the parts of this package that were not synced to it."""

    def __init__(self, place: Path, identifier: str, missing: Sequence[str] = (), **grains: object) -> None:
        import salt._logging.impl
        import salt.config
        import salt.loader

        salt._logging.impl.shutdown_temp_handler()  # it would print all it kept when the process ends
        for directory in ("srv", "pillar"):
            (place / directory).mkdir(parents=True)
        for name in SERVED:
            (place / "srv" / name).symlink_to(ROOT / name)
        (place / "srv/ipsec").symlink_to(ROOT / "states/ipsec")
        config = {
            "id": identifier,
            "root_dir": str(place),
            "file_client": "local",
            "file_roots": {"base": [str(place / "srv")]},
            "pillar_roots": {"base": [str(place / "pillar")]},
            "enable_fqdns_grains": False,
            "log_level": "critical",
            **{key: [str(ROOT / path)] for key, path in DIRECTORIES.items() if path not in missing},
        }
        (place / "pillar/top.sls").write_text(json.dumps(TOP))  # JSON is YAML
        (place / "minion").write_text(json.dumps(config))
        self.place, self.retcode = place, 0
        self.opts = salt.config.minion_config(str(place / "minion"))
        self.opts["grains"] = {**salt.loader.grains(self.opts), "id": identifier, **grains}
        self.utils = salt.loader.utils(self.opts)

    def pillar(self, data: object, **beside: object) -> None:
        """Give the minion what stands below ``ipsec`` in the pillar, and beside it."""
        (self.place / "pillar/ipsec.sls").write_text(json.dumps({"ipsec": data, **beside}))

    def call(self, function: str, *arguments: Any, **named: Any) -> Any:
        """Call a function of an execution module as ``salt-call --local`` does; what it returned."""
        context: dict[str, Any] = {}
        found = self.function(function, context)(*arguments, **named)
        self.retcode = context.get("retcode", 0)
        return found

    def function(self, name: str, context: dict[str, Any] | None = None) -> Any:
        """Return a function of an execution module as Salt's loader gives it."""
        import salt.loader
        import salt.pillar

        identifier = self.opts["grains"]["id"]
        compiler = salt.pillar.get_pillar(self.opts, self.opts["grains"], identifier, "base")
        opts = {**self.opts, "pillar": compiler.compile_pillar()}
        return salt.loader.minion_mods(opts, utils=self.utils, context=context)[name]

    def state(self, function: str, name: str, test: bool = False, **named: Any) -> dict[str, Any]:
        """Run one state by Salt's state compiler; result, changes, comment and warnings."""
        (found,) = self.call("state.single", function, name=name, test=test, **named).values()
        return {key: found[key] for key in ("result", "changes", "comment", "warnings") if key in found}

    def apply(self, sls: str = "ipsec", test: bool = False) -> dict[str, dict[str, Any]]:
        """Apply an SLS file; what each state returned, by its id, in the order they ran."""
        found = self.call("state.apply", sls, test=test)
        assert isinstance(found, dict), found
        return {one["__id__"]: one for one in sorted(found.values(), key=lambda one: one["__run_num__"])}


class Remote:
    """A :class:`Minion` in a process of its own, started by ``argv`` (``Host.argv`` of a namespaced host)."""

    def __init__(self, argv: Callable[[list[str]], list[str]], log: Path, **arguments: object) -> None:
        """Start it; ``arguments`` are those of Minion."""
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                argv([sys.executable, "-B", str(Path(__file__).resolve()), json.dumps(arguments)]),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        self._log = log

    def _ask(self, method: str, *arguments: object, **named: object) -> Any:
        assert self._process.stdin and self._process.stdout
        print(json.dumps([method, arguments, named]), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        assert answer, f"the minion's process ended: {self._log.read_text(errors='replace')}"
        value, error = json.loads(answer)
        assert not error, error
        return value

    def pillar(self, data: object, **beside: object) -> None:
        """See :class:`Minion`."""
        self._ask("pillar", data, **beside)

    def call(self, function: str, *arguments: Any, **named: Any) -> Any:
        """See :class:`Minion`."""
        return self._ask("call", function, *arguments, **named)

    def state(self, function: str, name: str, test: bool = False, **named: Any) -> dict[str, Any]:
        """See :class:`Minion`."""
        return self._ask("state", function, name, test=test, **named)

    def apply(self, sls: str = "ipsec", test: bool = False) -> dict[str, dict[str, Any]]:
        """See :class:`Minion`."""
        return self._ask("apply", sls, test=test)

    def put(self, module: str, name: str, value: object) -> None:
        """Give a constant of a module of the engine another value there: a shorter deadline, say."""
        self._ask("put", module, name, value)

    def stop(self) -> None:
        """End the process: it reads the end of its input."""
        self._process.communicate()


def tree(top: Path) -> dict[str, tuple[int, int, bytes]]:
    """Return all files below a directory: path -> (mode, time of change, content)."""
    found = {}
    for path in sorted(top.rglob("*")):
        status = path.lstat()
        content = b"" if path.is_dir() or path.is_symlink() else path.read_bytes()
        found[str(path.relative_to(top))] = (status.st_mode, status.st_mtime_ns, content)
    return found


def _adopt() -> None:
    """Go on in a child; its parent reaps what daemons leave behind, as process 1 of a host does."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    child = os.fork()
    if child:
        os.close(0)
        os.close(1)
        while os.wait()[0] != child:
            continue
        os._exit(0)


def _serve(arguments: dict[str, Any]) -> None:
    """Answer requests, one a line, until standard input ends; nothing else may reach standard output."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    minion = Minion(Path(arguments.pop("place")), **arguments)
    actions = {name: getattr(minion, name) for name in ("pillar", "call", "state", "apply")}
    actions["put"] = lambda module, name, value: setattr(importlib.import_module(module), name, value)
    for line in sys.stdin:
        method, positional, named = json.loads(line)
        try:
            answer = actions[method](*positional, **named), ""
        except Exception:  # the caller reports it
            answer = None, traceback.format_exc()
        print(json.dumps(answer), file=out, flush=True)


if __name__ == "__main__":
    _adopt()
    _serve(json.loads(sys.argv[1]))

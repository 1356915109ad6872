"""Whatever Salt's own functions raise, each verb, state and runner of ours ends in a sentence."""

from __future__ import annotations

import importlib.util
import inspect
import subprocess

import pytest
import salt.client
import salt.config
from minions import HOST, ROOT
from salt.exceptions import CommandExecutionError

from hostipsec import paths
from hostipsec.errors import HostIPsecError
from hostipsec.model import SWANCTL
from hostipsec.paths import Paths
from hostipsec.system import packages

ERRORS = (CommandExecutionError("not to be had"), OSError(5, "not to be had"), KeyError("not to be had"))
FILES = ("_modules/ipsec.py", "_modules/ipsec_host.py", "_states/ipsec.py", "_runners/ipsec.py")
# what has no default, of all functions
NEEDED = {"name": "/x", "to": "/y", "packages": ["x"], "sysctls": {}, "connection": "cp3001_v4", "ids": [1]}
NEEDED |= {"reason": "T1"}
QUIET = {
    "_modules/ipsec.py": {"down", "loglevel", "reauthenticate", "rollback_", "up", "version"},
    "_modules/ipsec_host.py": {"restart"},
    "_states/ipsec.py": {
        *("cleaned", "diverted", "engine_shared", "remembered", "vici_present", "vici_shared"),
    },
    "_runners/ipsec.py": {"rollback"},
}  # what calls nothing of Salt's here; on their way some do, see below
SAID_ELSEWHERE = ("facts",)  # for the SLS files; state ipsec.checked of the same run says it


class Raising(dict):
    """Salt's functions, each of which raises; ``asked`` are the names of those that were called."""

    def __init__(self, error):
        self.error, self.asked = error, []

    def __missing__(self, name):
        def function(*_, **__):
            self.asked.append(name)
            raise self.error

        return function


def loaded(file):
    """Return one of our files as Python has it, without what Salt's loader puts into it."""
    name = f"raising_{file.replace('/', '_').removesuffix('.py')}"
    spec = importlib.util.spec_from_file_location(name, ROOT / file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def public(module):
    """Return the names of the functions that Salt offers."""
    every = inspect.getmembers(module, inspect.isfunction)
    return [name for name, one in every if one.__module__ == module.__name__ and not name.startswith("_")]


def needed(function):
    """Return arguments for whatever has no default."""
    every = inspect.signature(function).parameters.values()
    plain = (one for one in every if one.kind is one.POSITIONAL_OR_KEYWORD and one.default is one.empty)
    return {one.name: NEEDED[one.name] for one in plain}


def texts(value):
    """Yield all texts inside a value."""
    if isinstance(value, dict):
        value = [*value.values()]
    for one in value if isinstance(value, (list, tuple)) else [value]:
        yield from texts(one) if isinstance(one, (dict, list, tuple)) else [str(one)]


@pytest.fixture
def world(tmp_path, monkeypatch, minion, data):
    """Return what a loader gives a function of a host; no program is there, and nothing of this machine."""

    def no_program(*_, **__):
        raise FileNotFoundError(2, "No such file or directory")

    def no_client(*_, **__):
        raise CommandExecutionError("not to be had")

    (tmp_path / "root/proc").mkdir(parents=True)
    monkeypatch.setattr(paths, "here", Paths(tmp_path / "root"))
    monkeypatch.setattr(subprocess, "Popen", no_program)
    monkeypatch.setattr(salt.client, "get_local_client", no_client)
    monkeypatch.setattr(salt.client, "LocalClient", no_client)
    for family in ("ipv4", "ipv6"):  # so that the mine is asked
        del data["hosts"]["cp3001.esams.example"][family]
    data["addresses"] = "mine"
    minion.pillar(data)

    def give(module, functions):
        for name, value in {
            "__salt__": functions,
            "__opts__": {
                **salt.config.DEFAULT_MASTER_OPTS,
                **minion.opts,
                "test": False,
                "cachedir": str(tmp_path / "cache"),
            },
            "__grains__": minion.opts["grains"],
            "__pillar__": {"ipsec": data},
            "__context__": {},
            "__user__": "root",
        }.items():
            monkeypatch.setattr(module, name, value, raising=False)

    return give


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize(("file", "name"), [(file, name) for file in FILES for name in public(loaded(file))])
def test_what_salt_raises_ends_as_a_sentence(world, file, name, error):
    module, functions = loaded(file), Raising(error)
    world(module, functions)
    if "runners" in file:
        module._accepted = lambda *_: [HOST]
    function = getattr(module, name)
    found = function(**needed(function))
    said = [line for line in texts(found) if "not to be had" in line]
    assert "Traceback" not in "".join(texts(found))
    assert functions.asked or name in QUIET[file]
    assert not functions.asked or said or name in SAID_ELSEWHERE, (functions.asked, found)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a_way_back_that_needs_a_package_ends_as_a_sentence(world, monkeypatch, error):
    module, functions = loaded("_modules/ipsec.py"), Raising(error)
    world(module, functions)
    monkeypatch.setattr(packages, "displaced", lambda _: ())
    monkeypatch.setattr(packages, "fetch", lambda _: None)
    monkeypatch.setattr(module.rollback, "back", lambda host, *_: host.install(SWANCTL))
    found = module.rollback_()
    assert (module.__context__["retcode"], functions.asked) == (2, ["pkg.install"])
    assert found["error"].startswith("pkg.install: ") and "type: salt-call -l debug" in found["error"]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize(
    ("name", "argument"), [("_purge", ["x"]), ("_remove_vici", None), ("_restart", "strongswan-starter")]
)
def test_what_a_state_calls_on_its_way_raises_sentences(world, name, argument, error):
    """Each state takes these for its comment."""
    module = loaded("_states/ipsec.py")
    world(module, Raising(error))
    with pytest.raises(HostIPsecError, match=r"^(pkg|pip|service)[.]\w+: .*not to be had.*; type: "):
        getattr(module, name)(*([] if argument is None else [argument]))


@pytest.mark.parametrize("file", FILES)
def test_nothing_calls_salt_but_by_what_makes_sentences(file):
    lines = [line for line in (ROOT / file).read_text().splitlines() if "__salt__" in line]
    assert not [line for line in lines if "calls.Calls(__salt__" not in line]

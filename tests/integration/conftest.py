"""A real master and two real minions, all below one temporary directory, serving what the README says.

One of the minions can be of another Salt than all the rest: ``--edge-salt .build/venv-3006``.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path

import attrs
import pytest
import salt._logging.impl
import salt.client
import salt.utils.event
import salt.version
import yaml

import authorities
import fleets
import homes
import whole
from whole import pytest_collection_modifyitems  # noqa: F401

ROOT = Path(__file__).parents[2]
HUB, EDGE = "cp1001.eqiad.example", "cp3001.esams.example"
TIMEOUT = 60  # seconds, for a job; a minion that is gone is reported at once


salt._logging.impl.shutdown_temp_handler()  # it would print all it kept when the process ends


def pytest_addoption(parser: pytest.Parser) -> None:
    """Have the option of all layers, and one of ours."""
    whole.pytest_addoption(parser)
    parser.addoption("--edge-salt", help="virtual environment with the Salt of one of the minions")


def readme(language: str, holding: str) -> str:
    """Return the one block of code of the README that holds a text."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    (found,) = [block for name, block in blocks if name == language and holding in block]
    return found


def serve(directory: Path) -> None:
    """Make the directory of links by the README's own commands."""
    commands = readme("", "ln -s /srv/ipsec/states/ipsec ipsec")
    for place, real in (("/srv/salt", directory), ("/srv/ipsec", ROOT)):
        commands = commands.replace(place, str(real))
    subprocess.run(["sh", "-euc", commands], check=True)


def write_pillar(directory: Path, data: object, **beside: object) -> None:
    """Give the fleet a pillar; ``data`` stands below ``ipsec``."""
    directory.mkdir(exist_ok=True)
    shutil.copy(ROOT / "pillar/top.sls.example", directory / "top.sls")
    (directory / "ipsec.sls").write_text(json.dumps({"ipsec": data, **beside}))  # JSON is YAML


@pytest.fixture(scope="session")
def place():
    """Return a directory with a short name: Salt's sockets are below it, and their names are limited."""
    found = Path(tempfile.mkdtemp(prefix="ips", dir="/tmp"))
    yield found
    shutil.rmtree(found, ignore_errors=True)


@pytest.fixture(scope="session")
def salt_factories_default_root_dir(place):
    return place


@pytest.fixture(scope="session")
def salt_factories_config(place):
    """pkg.installed asks apt for new lists, in test mode as well: it gets none, and keeps them here."""
    (place / "apt/lists/partial").mkdir(parents=True)
    settings = {
        "Dir::State": place / "apt",
        "Dir::State::status": "/var/lib/dpkg/status",
        "Dir::Cache": place / "apt",
    }
    settings |= {"Dir::Etc::sourcelist": "/dev/null", "Dir::Etc::sourceparts": "/dev/null"}
    (place / "apt.conf").write_text("".join(f'{key} "{value}";\n' for key, value in settings.items()))
    environment = homes.at_home(place / "bin", homes.addresses())
    return {"slow_stop": False, "environ": {**environment, "APT_CONFIG": str(place / "apt.conf")}}


@pytest.fixture(scope="session")
def data(place):
    """Return the example pillar; the hosts' certificates are files below the temporary directory."""
    now = datetime.now(timezone.utc)
    ca = authorities.authority("CN=Fleet CA", now)
    for identifier in fleets.example()["hosts"]:
        issued = authorities.host(f"CN={identifier}", now, ca)
        authorities.write(place / "pki" / identifier, issued.pem, issued.key_pem(), ca.pem)
    pki = f"{place}/pki/{{id}}"
    certificates = {"certificate": f"{pki}/host.pem", "key": f"{pki}/host.key", "ca": f"{pki}/ca.pem"}
    plane = yaml.safe_load((ROOT / "lab/pillar/plane-charon.sls").read_text())["ipsec"]
    return {**fleets.example(), **plane, "certificates": {"source": "files", **certificates}}


@pytest.fixture(scope="session")
def edge_salt(request):
    """Return the version of Salt of the minion at the edge."""
    other = request.config.getoption("--edge-salt")
    if not other:
        return salt.version.__version__
    said = subprocess.run(
        [ROOT / other / "bin/salt-minion", "--version"], check=True, capture_output=True, text=True
    )
    return said.stdout.split()[1]


@pytest.fixture(scope="session")
def edge_factories(salt_factories, request):
    """Return what starts the minion at the edge: of another Salt, where the command line says so."""
    other = request.config.getoption("--edge-salt")
    if not other:
        return salt_factories
    scripts = (ROOT / other / "bin").resolve()
    return attrs.evolve(salt_factories, scripts_dir=scripts, python_executable=None)


@pytest.fixture(scope="session")
def fleet(salt_factories, edge_factories, place, data):
    """Return the fleet, started, its minions not synced yet."""
    write_pillar(place / "pillar", data)
    serve(place / "srv")
    roots = {"file_roots": {"base": [str(place / "srv")]}, "pillar_roots": {"base": [str(place / "pillar")]}}
    overrides = {**roots, "auto_accept": True, "worker_threads": 3, "fileserver_followsymlinks": True}
    master = salt_factories.salt_master_daemon("master", overrides=overrides)
    settings = {
        "grains": {},
        "enable_fqdns_grains": False,
        "random_startup_delay": 0,
        "acceptance_wait_time": 0.5,
        "multiprocessing": False,
        "multifunc_ordered": True,
    }
    minions = [
        factories.salt_minion_daemon(
            identifier,
            master=master,
            overrides={
                **settings,
                "mesh_addresses": [address],
                "mine_functions": {"network.ip_addrs": [{"mine_function": "config.get"}, "mesh_addresses"]},
            },
        )
        for factories, identifier, address in (
            (salt_factories, HUB, "10.64.0.11"),
            (edge_factories, EDGE, "10.20.0.11"),
        )
    ]
    with master.started(), ThreadPoolExecutor(len(minions)) as pool:
        list(pool.map(lambda minion: minion.start(), minions))
        try:
            yield Fleet(master, place)
        finally:
            list(pool.map(lambda minion: minion.terminate(), minions))


class Fleet:
    """Two minions and their master."""

    def __init__(self, master, place):
        self.master, self.place = master, place
        self.client = salt.client.LocalClient(mopts=dict(master.config))

    def run(self, function, *arguments, **named):
        """Run a function on both minions over the bus; ``{minion id: (what it returned, exit status)}``."""
        found = self.client.cmd("*", function, arguments, TIMEOUT, kwarg=named, full_return=True)
        assert sorted(found) == [HUB, EDGE], f"not both minions answered: {sorted(found)}"
        for answer in found.values():
            assert "Traceback" not in str(answer), answer
        return {host: (answer["ret"], answer["retcode"]) for host, answer in found.items()}

    def values(self, function, *arguments, **named):
        """Run a function on both minions, which must succeed; ``{minion id: what it returned}``."""
        found = self.run(function, *arguments, **named)
        assert {status for _, status in found.values()} == {0}, found
        return {host: value for host, (value, _) in found.items()}

    def each(self, function, calls):
        """Run a function many times in one job, on both minions; ``{minion id: [what it returned]}``."""
        found = self.client.cmd("*", [function] * len(calls), calls, TIMEOUT)
        assert sorted(found) == [HUB, EDGE], f"not both minions answered: {sorted(found)}"
        return {host: list(answers) for host, answers in found.items()}

    def pillar(self, data, **beside):
        """Give both minions a pillar: what stands below ``ipsec``, and beside it."""
        write_pillar(self.place / "pillar", data, **beside)
        self.values("saltutil.refresh_pillar", wait=True)


@pytest.fixture(scope="session")
def before_sync(fleet):
    """Return what state ipsec says on minions that were never synced."""
    return fleet.run("state.apply", "ipsec")


@pytest.fixture(scope="session")
def synced(fleet, before_sync):
    """Return what ``saltutil.sync_all`` brought to each minion."""
    return fleet.values("saltutil.sync_all")


@pytest.fixture
def salted(fleet, synced, data):
    """Return the fleet with its modules and a good pillar; a test may give it another."""
    yield fleet
    if json.loads((fleet.place / "pillar/ipsec.sls").read_text()) != {"ipsec": data}:
        fleet.pillar(data)


@pytest.fixture
def bus(fleet):
    """Return a function that waits for the next event on the master's bus whose tag begins so; None."""
    with salt.utils.event.get_event("master", opts=fleet.master.config, listen=True) as found:
        found.connect_pub()
        yield lambda tag, wait: found.get_event(wait, tag, full=True, match_type="startswith")

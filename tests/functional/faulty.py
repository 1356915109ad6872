"""A host with three peers on which one fault at a time is made, and what its faces show of it."""

from __future__ import annotations

import contextlib
import importlib.util
import json
from collections.abc import Callable, Iterator
from pathlib import Path

from downs import Peers, name
from strongswan import wait_for

from hostipsec.charon.vicisession import ViciBackend
from hostipsec.errors import CharonError
from hostipsec.store import record
from hostipsec.store.record import Record

ROOT = Path(__file__).parents[2]
SCRIPT = (Path(__file__).parent / "within/faces.py").read_text()
RECORD, HOLD, CONF = "/var/lib/hostipsec/mesh.json", "/var/lib/hostipsec/hold.json", "/etc/ipsec.conf"


class Faulty:
    """Three peers, all up; one fault at a time is made, and undone."""

    def __init__(self, peers: Peers, place: Path) -> None:
        self.peers, self.east, self.place = peers, peers.east, place

    # what the faces show

    def faces(self) -> dict:
        done = self.east.process(["/usr/bin/python3", "-B", "-c", SCRIPT], 180)
        assert done.status == 0, done.text
        return json.loads(done.stdout)

    def events(self, samples: list[str]) -> list[dict]:
        """Return what a beacon without a memory tells of samples, one after another."""
        found = importlib.util.spec_from_file_location("beacon_of_faults", ROOT / "_beacons/ipsec.py")
        beacon = importlib.util.module_from_spec(found)
        found.loader.exec_module(beacon)
        memory = self.place / "told"
        memory.mkdir(exist_ok=True)
        for old in memory.iterdir():
            old.unlink()
        beacon.__opts__ = {"cachedir": str(memory)}
        told = []
        for number, text in enumerate(samples):
            path = self.place / f"state-{number}.json"
            path.write_text(text)
            told += beacon.beacon([{"sample": str(path)}])
        return told

    # what is done to the host

    def put(self, path: str, text: str, mode: int = 0o600) -> None:
        self.east.write(path, text, mode)

    def read(self, path: str) -> str:
        return (self.east.root / path.lstrip("/")).read_text()

    @contextlib.contextmanager
    def changed(self, path: str, text: str) -> Iterator[None]:
        """Have a file say something else."""
        there = (self.east.root / path.lstrip("/")).exists()
        before = self.read(path) if there else ""
        self.put(path, text)
        yield
        if there:
            self.put(path, before)
        else:
            self.east.run("rm", path)

    def wait(self, happened: Callable[[], bool], what: str) -> None:
        wait_for(happened, what, 60)

    def end(self, *numbers: int) -> None:
        """End what is up of connections, by charon."""
        names = {name(number) for number in numbers}
        ids = [sa.uniqueid for sa in self.peers.look.ike_sas if sa.name in names]
        ViciBackend(self.east.vici).terminate(ids, force=True)
        self.wait(lambda: not names & {sa.name for sa in self.peers.look.ike_sas}, f"end of {names}")

    def mend(self) -> None:
        """Make all as it was: three connections that are loaded, and up once each."""
        self.east.run("rm", "-f", HOLD, "/var/lib/hostipsec/mesh.copy.json", "/run/hostipsec/state.json")
        self.put(RECORD, record.render(Record(self.peers.connections)), 0o644)
        # starter reads ipsec.conf some time after the update: not what the next fault makes of it
        mark = "\nconn mended\n    left=127.0.0.1\n    right=127.0.0.2\n    auto=add\n"
        for text, there in ((self.peers.conf("start") + mark, True), (self.peers.conf("start"), False)):
            self.put(CONF, text)
            self.east.run("ipsec", "update")
            self.wait(lambda there=there: self._has("mended") == there, "what starter makes of ipsec.conf")
        self.wait(self._whole, "host that is whole")

    def _has(self, name: str) -> bool:
        try:
            return any(one.name == name for one in self.peers.look.connections)
        except CharonError:
            return False

    def _whole(self) -> bool:
        try:
            return self._nearer()
        except CharonError:  # it was stopped, and has its queue to go through
            return False

    def _nearer(self) -> bool:
        look = self.peers.look
        wanted = {one.name for one in self.peers.connections}
        if {one.name for one in look.connections} != wanted:
            return False
        well = {sa.name for sa in look.ike_sas if sa.state == "ESTABLISHED" and len(sa.children) == 1}
        once = {one for one in well if sum(sa.name == one for sa in look.ike_sas) == 1}
        charon = ViciBackend(self.east.vici)
        charon.terminate([sa.uniqueid for sa in look.ike_sas if sa.name not in once], force=True)
        charon.initiate(sorted(wanted - once), timeout=60)
        return once == wanted

    def configure(self, text: str, loaded: int) -> None:
        """Have charon load an ipsec.conf, and wait until it has so many connections."""
        self.put(CONF, text)
        self.east.run("ipsec", "update")
        self.wait(lambda: len(self.peers.look.connections) == loaded, f"{loaded} connections loaded")

    def recorded(self, **changes) -> str:
        return record.render(Record(self.peers.connections)._replace(**changes))

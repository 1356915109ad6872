"""A host under emergency stop: its peers, its ``ipsec-global`` as deployed, and what is left."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from strongswan import STRONGSWAN_CONF, Host, line, unpacked, wait_for

from hostipsec.charon import vicicopy
from hostipsec.charon.vicisession import ViciBackend
from hostipsec.model import Charon, Connection
from hostipsec.store import record
from hostipsec.store.record import Record
from hostipsec.strongswan import render
from hostipsec.system import libraries

ROOT = Path(__file__).parents[2]
EAST = "10.9.0.1"
SECRETS = ': PSK "tests only"\n'
CONN = """
conn {name}
    left={left}
    right={right}
    leftid="CN={me}"
    rightid="CN={peer}"
    authby=psk
    keyexchange=ikev2
    ike=aes128gcm16-prfsha256-ecp256!
    esp=aes128gcm16-ecp256-noesn!
    reauth=no
    mobike=no
    dpdaction={dpdaction}
    auto={auto}
"""
# hundreds of tunnels between two hosts: no limit for half-open SAs of one address; a duplicate is an IKE SA
BUSY = (
    STRONGSWAN_CONF.replace("retransmit_timeout = 60", "retransmit_timeout = 60\n    dos_protection = no")
    + """
charon {
    threads = 32
    ikesa_table_size = 256
    ikesa_table_segments = 8
    reuse_ikesa = no
}
"""
)


# that begin at once: of a thousand, the other charon's socket drops some (RcvbufErrors), and what is lost is
# sent again after retransmit_timeout, which is a minute here
WAVE = 100


@dataclass(frozen=True)
class Answer:
    """What ``ipsec-global`` printed, its exit status, and how long it took."""

    status: int
    text: str
    seconds: float

    @property
    def data(self) -> Any:
        """Return what ``--json`` printed."""
        return json.loads(self.text)


def name(number: int) -> str:
    """Return the name of the connection to a peer."""
    return f"cp{number:04}_v4"


def address(number: int) -> str:
    """Return the address of a peer."""
    return f"10.9.{1 + number // 200}.{1 + number % 200}"


class Peers:
    """``east``, and one host that is all of its peers: each has an address of its own there.

    Peers from ``count`` on to ``count + absent`` have no address anywhere: nobody answers. ``there`` changes
    what a peer has of its connection, by number: an option's text and another; None, and it has none.
    """

    def __init__(
        self,
        place: Path,
        count: int,
        absent: int = 0,
        strongswan_conf: str = BUSY,
        vici_library: bool = True,
        stage: str = "passive",
        conn: str = CONN,
        secrets: str = SECRETS,
        there: Mapping[int, tuple[str, str] | None] | None = None,
    ) -> None:
        self.count, self.strongswan_conf, self.stage = count, strongswan_conf, stage
        self.conn, self.secrets, self.there = conn, secrets, there or {}
        self.numbers = range(count + absent)
        self.east = Host("east", place / "east", over=unpacked())
        self.west = Host("west", place / "west", over=unpacked())
        line(self.east, self.west, [f"{EAST}/16"], ["10.9.0.2/16"])
        self.addresses("add", range(count))
        self._deploy(vici_library)

    def _deploy(self, vici_library: bool) -> None:
        """Put the command where states put it."""
        lib = self.east.root / "usr/local/lib/hostipsec"
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "_utils/hostipsec", lib / "hostipsec", ignore=ignored)
        if vici_library:
            libraries.copy(lib / "vici", vicicopy.library())
        (self.east.root / "usr/local/sbin").mkdir(parents=True, exist_ok=True)
        script = (ROOT / "states/ipsec/files/ipsec-global").read_text()
        self.east.write("/usr/local/sbin/ipsec-global", script, 0o755)
        (self.east.root / "var/lib/hostipsec").mkdir(parents=True)
        self.east.write("/var/lib/hostipsec/mesh.json", record.render(Record(tuple(self.connections))), 0o644)

    @property
    def connections(self) -> tuple[Connection, ...]:
        """Return the connections of east."""
        return tuple(
            Connection(
                *(name(n), f"cp{n:04}.example", "v4", ip_address(EAST), ip_address(address(n))),
                *("CN=east", f"CN=cp{n:04}.example", True, self.stage),
            )
            for n in self.numbers
        )

    def addresses(self, verb: str, numbers: Sequence[int]) -> None:
        """Give peers their addresses (``add``), or take them away (``del``): nobody answers then."""
        lines = [f"address {verb} {address(n)}/16 dev eth0" for n in numbers]
        self.west.process(["sh", "-c", 'printf "%s\\n" "$@" | ip -batch -', "sh", *lines], 30)

    def conf(self, auto: str = "add") -> str:
        """Return east's ipsec.conf as Salt writes it."""
        ends = {"left": EAST, "me": "east", "auto": auto, "dpdaction": "restart"}
        conns = (
            self.conn.format(name=name(n), right=address(n), peer=f"cp{n:04}.example", **ends)
            for n in self.numbers
        )
        return render.HEADER + "config setup\n    uniqueids=no\n" + "".join(conns)

    def start(self) -> None:
        """Start both charons, with nothing up."""
        ends = {"right": EAST, "peer": "east", "auto": "add", "dpdaction": "clear"}
        conns = (
            self.conn.format(name=f"east{n:04}", left=address(n), me=f"cp{n:04}.example", **ends).replace(
                *(self.there.get(n) or ("", ""))
            )
            for n in range(self.count)
            if self.there.get(n, ()) is not None
        )
        conf = "config setup\n    uniqueids=no\n" + "".join(conns)
        self.west.start(conf, self.secrets, self.strongswan_conf)
        self.east.start(self.conf(), self.secrets, self.strongswan_conf)
        wait_for(lambda: len(self.look.connections) == len(self.numbers), "the connections of east")

    def up(self, numbers: Sequence[int] = ()) -> None:
        """Have connections established."""
        wanted = [name(n) for n in numbers or range(self.count)]
        for begin in range(0, len(wanted), WAVE):
            wave = wanted[begin : begin + WAVE]
            ViciBackend(self.east.vici).initiate(wave, timeout=60)
            wait_for(lambda wave=wave: {*wave} <= self.established, f"{len(wave)} connections", 60)

    @property
    def look(self) -> Charon:
        """Return one look at east's charon."""
        return ViciBackend(self.east.vici).observe(timeout=60)

    @property
    def established(self) -> set[str]:
        """Return the names of the connections with a CHILD SA."""
        installed = ("INSTALLED", "REKEYING")
        sas = self.look.ike_sas
        return {child.name for sa in sas for child in sa.children if child.state in installed}

    def ipsec_global(self, *arguments: str, timeout: float = 60.0) -> Answer:
        """Run ``ipsec-global`` on east."""
        begin = time.monotonic()
        done = self.east.process(["/usr/local/sbin/ipsec-global", *arguments], timeout)
        return Answer(done.status, done.text, time.monotonic() - begin)

    def pid(self, program: str = "charon") -> str:
        """Return the process of east's charon, or starter."""
        return self.east.run("cat", f"/run/{'starter.' if program == 'starter' else ''}charon.pid").strip()

    def signal(self, number: str, program: str = "charon") -> None:
        """Send a signal to east's charon, or starter."""
        self.east.run("kill", f"-{number}", self.pid(program))

    def initiate_from_peers(self, numbers: Sequence[int]) -> None:
        """Have peers try to bring connections up."""
        ViciBackend(self.west.vici).initiate([f"east{n:04}" for n in numbers], timeout=60)

    def refused(self) -> int:
        """Return how often peers were refused so far."""
        return self.west.log.count("received NO_PROPOSAL_CHOSEN notify error")

    def stop(self) -> None:
        """End both hosts."""
        self.east.stop()
        self.west.stop()

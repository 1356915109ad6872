"""Hosts of ``strongswan.Host`` as states leave members of a pillar: certificates, configuration, engine."""

from __future__ import annotations

import json
import shutil
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from strongswan import Host, wait_for

import authorities
from hostipsec import paths
from hostipsec.apply import configuration, hostplan
from hostipsec.certificates import copies, source
from hostipsec.certificates.copies import Destination
from hostipsec.charon import vicicopy
from hostipsec.charon.vicisession import ViciBackend
from hostipsec.pillar import membership
from hostipsec.strongswan import render
from hostipsec.system import libraries, processes

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys
sys.path.insert(0, "/usr/local/lib/hostipsec")
from hostipsec.programs.{name} import main
sys.exit(main())
"""


class Member:
    """A host of a pillar."""

    FILES = "etc/ipsec.d"  # below which its charon has certificates and their like

    def __init__(self, space: Host, pillar: dict[str, Any], host: str, place: Path) -> None:
        self.space, self.host, self.place = space, host, place
        self.backend = ViciBackend(space.vici)
        self.read(pillar)

    def read(self, pillar: dict[str, Any]) -> None:
        """Take a pillar, without an effect on what runs."""
        self.member = membership.read(pillar, self.host)

    def inspect(self, one: authorities.Issued, ca: bytes) -> source.Inspection:
        """Return what the states find of a certificate, and of CAs of peers that are not managed."""
        now = datetime.now(timezone.utc)
        where = authorities.write(self.place / self.host, one.pem, one.key_pem(), ca)
        found = source.inspect(where, self.member.subject, now)
        return source.with_partners(found, self.member, now)

    def wanted(self, found: source.Inspection) -> configuration.Wanted:
        """Copy certificates; return what the states bring about."""
        destination = Destination(f"{self.space.root}/{self.FILES}", self.host)
        copies.write(copies.difference(found, destination, set()))
        return hostplan.wanted(self.member, found)

    def start(self, found: source.Inspection, settings: str) -> configuration.Wanted:
        """Start charon with the configuration, in which ``settings`` stand for those of charon."""
        wanted = self.wanted(found)
        value = wanted.configuration
        self.space.start(render.ipsec_conf(value), render.ipsec_secrets(value), settings)
        wait_for(lambda: not configuration.missing(wanted, self.backend.observe()), "the connections")
        return wanted

    # The engine there --------------------------------------------------------------------------

    def deploy(self, wanted: configuration.Wanted) -> None:
        """Put the engine and the record where states put them."""
        lib = self.space.root / "usr/local/lib/hostipsec"
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "_utils/hostipsec", lib / "hostipsec", ignore=ignored, dirs_exist_ok=True)
        libraries.copy(lib / "vici", vicicopy.library())
        (self.space.root / "var/lib/hostipsec").mkdir(parents=True, exist_ok=True)
        self.space.write("/var/lib/hostipsec/mesh.json", wanted.files[paths.here.record].decode(), 0o644)

    def program(self, name: str, *arguments: str) -> processes.Result:
        """Run a program of the engine there."""
        argv = ["/usr/bin/python3", "-IBc", PROGRAM.format(name=name), *arguments]
        return self.space.process(argv, 60)

    def status(self) -> dict[str, dict[str, Any]]:
        """Return the connections as ``ipsec-global status`` has them."""
        found = json.loads(self.program("ipsec_global", "status", "--json").stdout)["connections"]
        return {str(name): row for name, row in found.items()}

    def verify(self, **asked: Any) -> dict[str, Any]:
        """Return what a proof finds there, by connection."""
        script = str(Path(__file__).parent / "within/proving.py")
        python = ["env", f"PYTHONPATH={':'.join(sys.path)}", sys.executable, "-B"]
        told = (self.space.root / "var/lib/hostipsec/mesh.json").read_text()
        done = self.space.run(*python, script, told, json.dumps({"capture": True, "timeout": 10.0, **asked}))
        return {str(name): proof for name, proof in json.loads(done)["proofs"].items()}

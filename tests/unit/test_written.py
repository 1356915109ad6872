"""The files of a host, byte for byte as the release before wrote them: setting it up anew changes nothing.

``data/rendered`` is what that release wrote, of the example fleet as it is and with settings of many kinds.
Where those are of CHILD SAs, a name of them is new.
"""

from __future__ import annotations

import zlib
from dataclasses import replace
from pathlib import Path

import pytest

import fleets
from hostipsec import paths
from hostipsec.apply import configuration
from hostipsec.model import Charon, LoadedConnection
from hostipsec.pillar import membership
from hostipsec.store import record
from hostipsec.strongswan.sections import Secret

ME = "cp1001.eqiad.example"
PEM = f"{ME}-cb81a320759c.pem"
DATA = Path(__file__).parent / "data" / "rendered"
SETTINGS = {
    "connection": {
        "lifetime": "8h",
        "ike": "aes256gcm16-prfsha384-ecp384, aes128gcm16-prfsha256-ecp256!",
        "leftca": "C=DE, O=Example Org, CN=Fleet CA",
        "dpddelay": 10,
        "rekey": True,
    },
    "setup": {"uniqueids": "never", "charondebug": {"ike": 2, "net": -1}},
    "charon": {
        "threads": 40,
        "plugins": {"vici": {"load": True}},
        "filelog": {"main": {"path": "/var/log/charon.log", "time_format": "%b %e, %T", "default": 1}},
    },
    "mtu": 1400,
}
NAMED = {"leftgroups": "hostipsec-0ec703a6"}  # it stays the same from release to release
CASES = {
    "example": ({}, frozenset(), True, "RSA"),
    "settings": (SETTINGS, frozenset({"cp3001_v4", "cp3001_v6"}), False, "ECDSA"),
}


@pytest.fixture(params=sorted(CASES))
def written(request, here):
    """Return what a host shall run, and the files that the release before wrote for it."""
    more, held, keeper, keyword = CASES[request.param]
    if keeper:
        here.systemd.mkdir(parents=True)
    member = membership.read({**fleets.example(), **more}, ME)
    settings = member.fleet.settings
    want = configuration.wanted(member.connections, settings, PEM, Secret(keyword, PEM), held)
    old = {path: (DATA / request.param / path.name).read_bytes() for path in want.files}
    return want, old


def test_the_same_bytes_and_a_sum_of_the_record(written):
    want, old = written
    body = old[paths.here.record].removesuffix(b"}\n")
    summed = b'%s, "sum": "%08x"}\n' % (body, zlib.crc32(body))
    assert want.files == {**old, paths.here.conf: named(want, old), paths.here.record: summed}


def test_the_record_of_the_release_before_is_read(written):
    want, old = written
    assert record.parse(old[paths.here.record].decode()) == want.record


def test_a_host_that_the_release_before_set_up_has_nothing_to_change(written):
    want, old = written
    work = configuration.work(want, there(want, old))
    assert (work.empty, work.as_changes()) == (not name(want), told(name(want))), work
    assert not work.restart


def test_binding_peers_to_the_ca_is_all_that_changes_there(written):
    """With an update, and no connection taken for one that charon has lost: that would be a reload of all."""
    want, old = written
    charon = there(want, old)
    options = {**want.configuration.defaults, "rightca": "CN=Fleet CA"}
    bound = replace(want, configuration=want.configuration._replace(defaults=options))
    work = configuration.work(bound, charon)
    change = {**name(want), "rightca": "CN=Fleet CA"}
    assert (work.as_changes(), work.lost, work.restart) == (told(change), (), ())
    assert work.outdated == ()


def name(want):
    """Return the name of the CHILD options, where the pillar says any."""
    return NAMED if "lifetime" in want.configuration.defaults else {}


def named(want, old):
    """Return ipsec.conf of the release before, with the name."""
    line = "".join(f"    {key}={value}\n" for key, value in name(want).items()).encode()
    beside = b"    leftsendcert="
    return old[paths.here.conf].replace(beside, line + beside, 1)


def told(options):
    """Return what a state reports of options that all connections have now."""
    changes = {key: {"old": None, "new": value} for key, value in options.items()}
    return {"all connections": changes} if changes else {}


def there(want, old):
    """Write the files of before, and return the charon that runs with them."""
    for path, content in old.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(0o600 if path.name == "ipsec.secrets" else 0o644)
    loaded = tuple(
        LoadedConnection(one.name, (str(one.left),), (str(one.right),)) for one in want.connections
    )
    plugins = ("aes", "gcm", "openssl", "sha2", "hmac", "kdf")
    return Charon("5.9.8", "vici", plugins=plugins, connections=loaded)

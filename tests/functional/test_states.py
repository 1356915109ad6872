"""The states as Salt runs them: test mode says what the real run does and touches nothing."""

from __future__ import annotations

import os
import stat
import subprocess
import zipfile
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
import salt.loader
import salt.pillar
import strongswan
from minions import HOST, NOW, Minion, Remote, tree

import authorities
from hostipsec import paths
from hostipsec.apply import transition
from hostipsec.emergency.host import Host
from hostipsec.errors import HostIPsecError
from hostipsec.model import Charon
from hostipsec.paths import Paths
from hostipsec.pillar import digest, membership
from hostipsec.store import holdfile, record
from hostipsec.store.hold import Hold, Scope
from hostipsec.strongswan import render
from hostipsec.system import files

root_only = pytest.mark.skipif(os.getuid() != 0, reason="needs namespaces and mounts")
LONELY = "db1001.eqiad.example has no peers: no rule pairs it with a host in service"
SCRIPT = "/etc/init.d/ipsec"
ASIDE = "/etc/init.d/ipsec-disabled"


def agree(minion, function, name, **arguments):
    """Run a state in test mode, for real, and again in both; return what the real run returned."""
    would = minion.state(function, name, test=True, **arguments)
    did = minion.state(function, name, **arguments)
    assert would["changes"] == did["changes"]
    assert would["result"] is (None if did["changes"] else did["result"])
    assert "Traceback" not in would["comment"] + did["comment"]
    if did["result"] is True:
        for test in (True, False):
            again = minion.state(function, name, test=test, **arguments)
            assert (again["result"], again["changes"]) == (True, {})
    return did


# checked -------------------------------------------------------------------------------------


def configured_before(names):
    paths.here.conf.write_text(render.HEADER + "".join(f"conn {name}\n    auto=add\n" for name in names))


def test_checked(minion):
    found = agree(minion, "ipsec.checked", "input")
    assert found == {"result": True, "changes": {}, "comment": "3 peers, 6 connections"}


def test_checked_warns(minion, ca):
    soon = authorities.host(f"CN={HOST}", NOW, ca, until=timedelta(days=5))
    authorities.write(minion.place.parent / "source", soon.pem, soon.key_pem(), ca.pem)
    found = agree(minion, "ipsec.checked", "input")
    assert found["result"] is True
    assert len(found["warnings"]) == 1


def test_checked_fails_with_every_error_of_the_pillar(minion, data):
    data["hosts"]["cp3001.esams.example"]["ipv4"] = "10.20.0.999"
    minion.pillar({**data, "mtu": 9})
    for test in (True, False):
        found = minion.state("ipsec.checked", "input", test=test)
        assert (found["result"], found["changes"]) == (False, {})
        first, *problems = found["comment"].splitlines()
        assert first == "Nothing was changed."
        assert [line.split()[:2] for line in problems] == [
            ["-", "ipsec:hosts:cp3001.esams.example:ipv4:"],
            ["-", "ipsec:mtu:"],
        ]


def test_checked_ends_no_pair_in_require_by_a_slip(minion, data):
    data["rules"][0]["stage"] = "require"
    member = membership.read(data, HOST)
    paths.here.record.write_text(record.render(record.Record(member.connections)))
    data["hosts"]["cp3001.esams.example"]["cluster"] = "txet"
    minion.pillar({**data, "expect": []})
    wrong = "- ipsec:rules: no rule pairs this host with cp3001.esams.example any more"
    for test in (True, False):
        found = minion.state("ipsec.checked", "input", test=test)
        assert (found["result"], found["changes"]) == (False, {})
        assert found["comment"].startswith(f"Nothing was changed.\n{wrong}"), found["comment"]
    assert minion.call("ipsec.check")["problems"][0].startswith(wrong[2:])
    assert minion.call("ipsec.plan")["error"].find(wrong[2:]) > 0


def test_checked_refuses_a_stage_of_a_roll_out_that_is_none(minion, data):
    minion.pillar(data, ipsec_rollout={"stage": "off"})
    found = agree(minion, "ipsec.checked", "input")
    assert (found["result"], found["changes"]) == (False, {})
    assert found["comment"] == (
        "Nothing was changed.\n- ipsec_rollout:stage: found 'off'; allowed: passive, start, require"
    )


def test_checked_refuses_another_pillar_than_at_the_start_of_a_roll_out(minion, data):
    """Edited on the way, some hosts of a roll-out got the new one."""
    before = digest.of(data)
    minion.pillar(data, ipsec_rollout={"pillars": {HOST: before, "another": "x"}})
    assert agree(minion, "ipsec.checked", "input")["result"] is True
    minion.pillar({**data, "mtu": 1400}, ipsec_rollout={"pillars": {HOST: before}})
    found = agree(minion, "ipsec.checked", "input")
    assert (found["result"], found["changes"]) == (False, {})
    assert found["comment"].startswith(
        "Nothing was changed.\n- the pillar is another than at the start of this"
    )


def test_checked_on_a_host_in_no_rule(tmp_path, data, minion):
    other = Minion(tmp_path / "db", "db1001.eqiad.example")
    other.pillar(data)
    found = agree(other, "ipsec.checked", "input")
    assert found == {"result": True, "changes": {}, "comment": f"{LONELY}; nothing is set up here"}


def test_checked_never_lets_a_full_configuration_become_an_empty_one(tmp_path, data, minion):
    configured_before(["cp3001_v4", "cp3001_v6"])
    other = Minion(tmp_path / "db", "db1001.eqiad.example")
    other.pillar(data)
    for test in (True, False):
        found = other.state("ipsec.checked", "input", test=test)
        assert found["result"] is False
        assert found["comment"] == (
            f"{LONELY}, but 2 connections of ours stand in ipsec.conf and stay: correct the pillar, "
            "or apply state ipsec.clean to remove them."
        )


def test_checked_on_a_host_in_maintenance(minion, data):
    """Its configuration stays, and that is no error."""
    configured_before(["cp3001_v4"])
    data["hosts"][HOST]["maintenance"] = True
    minion.pillar(data)
    found = agree(minion, "ipsec.checked", "input")
    assert found["result"] is True
    assert found["comment"].endswith("it is in maintenance; its 1 connection stay configured")


# certificate_reused --------------------------------------------------------------------------


@pytest.fixture
def etc(tmp_path):
    return tmp_path / "ipsec.d"


def test_certificate_reused(minion, etc, source, issued):
    assert minion.state("ipsec.certificate_reused", str(etc), test=True)["result"] is None
    assert not etc.exists()
    found = agree(minion, "ipsec.certificate_reused", str(etc))
    assert found["result"] is True
    assert found["comment"].startswith("ECDSA certificate, valid for 36")
    changes = found["changes"]
    (key,) = (etc / "private").iterdir()
    (certificate,) = (etc / "certs").iterdir()
    assert changes[str(key)] == "new: ECDSA key of 384 bits"
    assert changes[str(certificate)].startswith(f"new: CN={HOST}, valid until ")
    assert {Path(path).parent.name for path in changes} == {"ipsec.d", "certs", "private", "cacerts"}
    assert key.read_bytes() == issued.key_pem() == Path(source.key).read_bytes()
    assert [stat.S_IMODE(path.stat().st_mode) for path in (key, key.parent)] == [0o600, 0o700]


def test_a_renewed_certificate_is_taken_up(minion, etc, ca):
    minion.state("ipsec.certificate_reused", str(etc))
    renewed = authorities.host(f"CN={HOST}", NOW, ca, until=timedelta(days=700))
    authorities.write(minion.place.parent / "source", renewed.pem, renewed.key_pem(), ca.pem)
    before = {path: "removed" for part in ("certs", "private") for path in (etc / part).iterdir()}
    found = agree(minion, "ipsec.certificate_reused", str(etc))
    said = {Path(path): text.split(":")[0] for path, text in found["changes"].items()}
    after = {path: "renewed" for part in ("certs", "private") for path in (etc / part).iterdir()}
    assert said == {**before, **after}


def test_nothing_of_a_key_is_shown_anywhere(minion, etc, issued, caplog):
    caplog.set_level(1)
    found = repr([minion.state("ipsec.certificate_reused", str(etc), test=test) for test in (True, False)])
    lines = [line for line in issued.key_pem().decode().splitlines() if not line.startswith("---")]
    for line in lines:
        assert line not in found + caplog.text


@pytest.mark.parametrize("fault", ["expired", "key of another", "no key", "other subject", "no such source"])
def test_a_wrong_certificate_changes_nothing(minion, data, etc, ca, issued, fault):
    minion.state("ipsec.certificate_reused", str(etc))
    before = tree(etc)
    place = minion.place.parent / "source"
    if fault == "expired":
        old = authorities.host(f"CN={HOST}", NOW, ca, until=timedelta(days=-1))
        authorities.write(place, old.pem, old.key_pem(), ca.pem)
    elif fault == "key of another":
        authorities.write(place, issued.pem, authorities.host("CN=x", NOW, ca).key_pem(), ca.pem)
    elif fault == "no key":
        authorities.write(place, issued.pem, b"", ca.pem)
    elif fault == "other subject":
        minion.pillar({**data, "certificates": {**data["certificates"], "subject": "CN={short}"}})
    else:
        minion.pillar({**data, "certificates": {"source": "puppet"}})
    for test in (True, False):
        found = minion.state("ipsec.certificate_reused", str(etc), test=test)
        assert (found["result"], found["changes"]) == (False, {})
        assert len(found["comment"].splitlines()) == 1, found["comment"]
        assert "expected" in found["comment"]
    assert tree(etc) == before


@root_only
def test_a_full_disk_changes_nothing(minion, etc):
    etc.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k,mode=0755", "tmpfs", etc], check=True)
    try:
        for name in ("certs", "private", "cacerts"):
            (etc / name).mkdir(mode=0o700 if name == "private" else 0o755)
        (etc / "filler").write_bytes(b"x" * 8192)  # two of four pages
        before = tree(etc)
        found = minion.state("ipsec.certificate_reused", str(etc))
        assert (found["result"], found["changes"]) == (False, {})
        assert found["comment"].endswith("No space left on device; what was there before stays")
        assert tree(etc).keys() == before.keys()
        (etc / "filler").unlink()
        assert agree(minion, "ipsec.certificate_reused", str(etc))["result"] is True
    finally:
        subprocess.run(["umount", etc], check=True)


# configured; what needs a charon is in test_configured.py ------------------------------------

MASKED = """
from salt.exceptions import CommandExecutionError


def status(name):
    return False


def start(name):
    raise CommandExecutionError(f"Unit {name}.service is masked")
"""


def test_a_masked_unit_is_a_sentence_and_the_files_are_as_they_were(minion, tmp_path, monkeypatch):
    """Salt's own ``service.start`` raises: the operator saw a traceback, and the new files stayed."""
    here = Paths(tmp_path / "host")
    here.strongswan_d.mkdir(parents=True)
    monkeypatch.setattr(paths, "here", here)
    monkeypatch.setattr(transition, "_tried", lambda want: ())
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules/service.py").write_text(MASKED)
    minion.opts["module_dirs"] = [*minion.opts["module_dirs"], str(tmp_path / "modules")]
    found = minion.state("ipsec.configured", "strongswan-starter")
    assert (found["result"], found["changes"]) == (False, {})
    assert found["comment"] == (
        "service.start: Unit strongswan-starter.service is masked; "
        "type: systemctl unmask strongswan-starter; "
        "the files are as they were"
    )
    assert not here.conf.exists()


CHARON = Charon("5.9.8", "vici", plugins=("aes", "gcm", "openssl", "sha2", "hmac", "kdf"))


@pytest.fixture
def overtaken(minion, tmp_path, monkeypatch):
    """Return a minion without a charon of its own, whose first change is overtaken by a hold of all."""
    here = Paths(tmp_path / "host")
    here.strongswan_d.mkdir(parents=True)
    here.conf.parent.mkdir(exist_ok=True)
    monkeypatch.setattr(paths, "here", here)
    monkeypatch.setattr(Host, "observe_if_running", lambda host: CHARON)
    changes, apply = [], transition.apply

    def down(want, work, host):
        files.swap(transition._contents(want, work))
        now = datetime.now(timezone.utc)
        holdfile.take(Hold("ada", now, "T1", None, Scope()), want.record.connections, now)
        monkeypatch.setattr(transition, "apply", minion.later)
        changes.append(work.as_changes())
        return transition.Outcome(changes[0], ("connections updated",), (), overtaken=True)

    monkeypatch.setattr(transition, "apply", down)
    minion.later, minion.changes = apply, changes
    return minion


def test_what_was_changed_until_a_hold_overtook_it_is_told(overtaken):
    """Only what the second look found was told: nothing, where the stop had done all of it."""
    found = overtaken.state("ipsec.configured", "strongswan-starter")
    assert found["result"] is True
    assert found["changes"] == overtaken.changes[0]
    assert len(found["changes"]["connections"]["added"]) == 6
    assert found["comment"].startswith("charon runs with exactly 0 connections; connections updated; ")
    assert "6 connections held" in found["comment"]


def test_what_was_changed_is_told_though_the_rest_fails(overtaken, monkeypatch):
    def refuse(want, work, host):
        raise HostIPsecError("charon does not")

    overtaken.later = refuse
    monkeypatch.setattr(Host, "observe_if_running", lambda host: CHARON if not overtaken.changes else None)
    found = overtaken.state("ipsec.configured", "strongswan-starter")
    assert (found["result"], found["changes"]) == (False, overtaken.changes[0])
    assert found["comment"] == "charon does not"


@pytest.mark.parametrize("later", [{}, {"charon": "started"}])
def test_two_changes_are_told_one_after_the_other(overtaken, monkeypatch, later):
    overtaken.later = lambda want, work, host: transition.Outcome(later, ("charon started",))
    monkeypatch.setattr(Host, "observe_if_running", lambda host: CHARON if not overtaken.changes else None)
    found = overtaken.state("ipsec.configured", "strongswan-starter")
    first = overtaken.changes[0]
    assert found["changes"] == ({**first, transition.AFTERWARDS: later} if later else first)
    assert found["comment"].startswith("charon runs with exactly 0 connections; connections updated, charon ")


def test_functions_go_by_the_pillar_that_was_applied_though_the_second_look_finds_nothing(overtaken):
    """The pillar was read anew only where the second look changed something."""
    refreshed = []
    compiler = salt.pillar.get_pillar(overtaken.opts, overtaken.opts["grains"], HOST, "base")
    opts = {**overtaken.opts, "pillar": compiler.compile_pillar(), "file_client": "remote", "test": False}
    functions = {"saltutil.refresh_pillar": lambda: refreshed.append(True), "mine.get": None}
    states = salt.loader.states(opts, functions, overtaken.utils, {}, context={})
    for _ in range(2):
        assert states["ipsec.configured"]("strongswan-starter")["result"] is True
    assert refreshed == [True]


# diverted ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    """A host with a dpkg of its own, in memory."""
    if os.getuid():
        pytest.skip("needs namespaces and mounts")
    found = strongswan.Host("diverter", tmp_path_factory.mktemp("diverter"))
    yield found
    found.stop()


@pytest.fixture(scope="module")
def remote(host, tmp_path_factory):
    log = tmp_path_factory.mktemp("remote") / "log"
    found = Remote(host.argv, log, place="/tmp/minion", identifier=HOST)
    found.pillar({})
    yield found
    found.stop()


@pytest.fixture
def diverter(host, remote):
    """Return a host on which nothing is diverted and none of the files is there."""
    for owner in ("--local", "--package=other"):
        host.process(["dpkg-divert", owner, "--no-rename", "--remove", SCRIPT], 10)
    host.run("rm", "-f", SCRIPT, ASIDE, f"{SCRIPT}-other")
    return remote


def diversion(host):
    return host.run("dpkg-divert", "--list", SCRIPT).strip()


def there(host):
    return sorted(path.name for path in (host.root / "etc/init.d").glob("ipsec*"))


def test_diverted_before_the_package_is_there(host, diverter):
    assert diverter.state("ipsec.diverted", SCRIPT, test=True, to=ASIDE)["result"] is None
    assert diversion(host) == ""
    found = agree(diverter, "ipsec.diverted", SCRIPT, to=ASIDE)
    assert found["changes"] == {SCRIPT: f"diverted to {ASIDE}"}
    assert diversion(host) == f"local diversion of {SCRIPT} to {ASIDE}"


def test_diverted_after_the_package_came(host, diverter):
    host.write(SCRIPT, "the script")
    found = agree(diverter, "ipsec.diverted", SCRIPT, to=ASIDE)
    assert found["changes"] == {SCRIPT: f"diverted to {ASIDE}"}
    assert there(host) == ["ipsec-disabled"]


def test_a_package_that_is_installed_later_goes_the_other_way(host, diverter, tmp_path):
    """A package of the test's own, by dpkg of the throw-away root."""
    agree(diverter, "ipsec.diverted", SCRIPT, to=ASIDE)
    tree_of_package = tmp_path / "package"
    (tree_of_package / "DEBIAN").mkdir(parents=True)
    (tree_of_package / "etc/init.d").mkdir(parents=True)
    (tree_of_package / "etc/init.d/ipsec").write_text("of the package")
    control = (
        "Package: some-script\nVersion: 1\nArchitecture: all\nMaintainer: T <t@example.org>\nDescription: t\n"
    )
    (tree_of_package / "DEBIAN/control").write_text(control)
    deb = host.root / "tmp/some-script.deb"
    strongswan.run(
        ["dpkg-deb", "--root-owner-group", "--build", str(tree_of_package), str(tmp_path / "x.deb")]
    )
    deb.write_bytes((tmp_path / "x.deb").read_bytes())
    host.run("dpkg", "--install", "/tmp/some-script.deb")
    try:
        assert there(host) == ["ipsec-disabled"]
        assert diverter.state("ipsec.diverted", SCRIPT, to=ASIDE)["changes"] == {}
    finally:
        host.run("dpkg", "--purge", "some-script")


def test_a_file_that_came_back_is_moved_again(host, diverter):
    agree(diverter, "ipsec.diverted", SCRIPT, to=ASIDE)
    host.write(SCRIPT, "written by hand")
    found = agree(diverter, "ipsec.diverted", SCRIPT, to=ASIDE)
    assert found["changes"] == {SCRIPT: f"moved to {ASIDE}, where it is diverted to already"}
    assert there(host) == ["ipsec-disabled"]


def test_an_administrators_own_diversion_stays(host, diverter):
    host.run("dpkg-divert", "--local", "--no-rename", "--divert", f"{SCRIPT}-other", "--add", SCRIPT)
    found = agree(diverter, "ipsec.diverted", SCRIPT, to=ASIDE)
    assert found["changes"] == {}
    assert diversion(host) == f"local diversion of {SCRIPT} to {SCRIPT}-other"


@pytest.mark.parametrize("case", ["a package diverts", "files at both", "file at the target"])
def test_what_cannot_be_diverted_is_left_alone(host, diverter, case):
    if case == "a package diverts":
        host.run(
            "dpkg-divert", "--package=other", "--no-rename", "--divert", f"{SCRIPT}-other", "--add", SCRIPT
        )
    elif case == "files at both":
        host.run("dpkg-divert", "--local", "--no-rename", "--divert", ASIDE, "--add", SCRIPT)
    if case != "a package diverts":
        host.write(SCRIPT, "one")
        host.write(ASIDE, "two")
    before = (diversion(host), there(host))
    for test in (True, False):
        found = diverter.state("ipsec.diverted", SCRIPT, test=test, to=ASIDE)
        assert (found["result"], found["changes"]) == (False, {}), test
        assert len(found["comment"].splitlines()) == 1
        assert SCRIPT in found["comment"]
    assert (diversion(host), there(host)) == before


def test_diverted_where_there_is_no_dpkg(host, diverter):
    host.run("mv", "/usr/bin/dpkg-divert", "/usr/bin/dpkg-divert.away")
    try:
        for test in (True, False):
            found = diverter.state("ipsec.diverted", SCRIPT, test=test, to=ASIDE)
            assert (found["result"], len(found["comment"].splitlines())) == (False, 1)
            assert "dpkg-divert: No such file or directory" in found["comment"]
    finally:
        host.run("mv", "/usr/bin/dpkg-divert.away", "/usr/bin/dpkg-divert")


# vici_present --------------------------------------------------------------------------------


@pytest.fixture
def without_vici(host, tmp_path_factory):
    """Return a minion whose Python has pip and no vici; its index is a directory with one small wheel."""
    import vici

    site = Path(vici.__file__).parents[1]
    log = tmp_path_factory.mktemp("remote") / "log"
    for path in (*site.glob("vici"), *site.glob("vici-*.dist-info")):
        host.run("mv", str(path), f"/tmp/{path.name}")
    index = host.root / "tmp/index"
    index.mkdir(exist_ok=True)
    settings = ["PIP_CONFIG_FILE=/dev/null", "PIP_NO_INDEX=1", "PIP_FIND_LINKS=/tmp/index"]
    found = Remote(
        lambda argv: host.argv(["env", *settings, *argv]),
        log,
        place=f"/tmp/{log.parent.name}",
        identifier=HOST,
    )
    found.pillar({})
    yield found
    found.stop()
    for path in (*index.glob("*"), *site.glob("vici*")):
        host.run("rm", "-rf", str(path if path.is_relative_to(site) else f"/tmp/index/{path.name}"))
    for path in [*(host.root / "tmp").glob("vici*")]:
        host.run("mv", f"/tmp/{path.name}", str(site))


def wheel(directory: Path, name: str, version: str) -> None:
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(directory / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        archive.writestr(f"{name}/__init__.py", "")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")


def test_vici_present(minion):
    found = agree(minion, "ipsec.vici_present", "vici>=5.9,<7")
    assert found == {"result": True, "changes": {}, "comment": "is importable"}


def test_vici_is_installed_by_pip(host, without_vici):
    wheel(host.root / "tmp/index", "vici", "6.0.1")
    wheel(host.root / "tmp/index", "vici", "7.0.0")
    assert without_vici.state("ipsec.vici_present", "vici>=5.9,<7", test=True)["result"] is None
    found = agree(without_vici, "ipsec.vici_present", "vici>=5.9,<7")
    assert found["changes"] == {"vici": "installed"}
    assert "vici==6.0.1" in without_vici.call("pip.freeze")


def test_without_an_index_the_state_passes_with_a_warning(without_vici):
    found = without_vici.state("ipsec.vici_present", "vici>=5.9,<7")
    assert (found["result"], found["changes"]) == (True, {})
    assert found["comment"] == "not there; charon is asked by stroke"
    (warning,) = found["warnings"]
    assert warning.startswith("vici>=5.9,<7 cannot be installed: ")


# engine_shared -------------------------------------------------------------------------------


@root_only
def test_engine_shared(minion, tmp_path):
    """The directory becomes what was synced: what is new, changed, too open or of rooms that are gone."""
    from hostipsec import edition

    there = tmp_path / "lib/hostipsec/hostipsec"
    engine = str(there)
    assert agree(minion, "ipsec.engine_shared", engine)["changes"] == {
        engine: f"new, {len(edition.sources())} files"
    }
    found = {str(path.relative_to(there)): path.read_bytes() for path in there.rglob("*.py")}
    assert found == edition.sources()
    assert agree(minion, "ipsec.engine_shared", engine)["changes"] == {}
    (there / "gone/__pycache__").mkdir(parents=True)
    for path in ("gone/room.py", "gone/__pycache__/room.pyc", "paths.py"):
        (there / path).write_bytes(b"x = 1\n")
    (there / "model.py").chmod(0o666)
    (there / "owner.py").unlink()
    assert agree(minion, "ipsec.engine_shared", engine)["changes"] == {
        f"{engine}/gone/room.py": "removed",
        f"{engine}/model.py": "changed",
        f"{engine}/owner.py": "new",
        f"{engine}/paths.py": "changed",
    }
    assert not (there / "gone").exists()

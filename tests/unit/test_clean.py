"""What `ipsec.clean` says of what it did, and of what it leaves."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone

import pytest

import fleets
from hostipsec.apply import clean
from hostipsec.emergency.stopped import Down, Ended
from hostipsec.errors import HostIPsecError
from hostipsec.model import Kernel
from hostipsec.pillar.membership import read
from hostipsec.store import generations, holdfile
from hostipsec.store.hold import Hold, Scope
from hostipsec.strongswan import render, sections
from hostipsec.system import processes, sysctlconf, sysctls

NOW = datetime(2026, 11, 24, 20, 0, tzinfo=timezone.utc)
TWO = read(fleets.star(1), "hub.core.example").connections
READ_ONLY = "the hold is not kept: /etc/ipsec.conf: cannot be written: Read-only file system"


def test_tunnels_that_ended_are_not_said_to_stand():
    """On a read-only /etc it said "tunnels do not end", where they had."""
    done = Down(tuple(Ended(one, 1, "ended") for one in TWO), problems=(READ_ONLY,), notes=("stopped",))
    assert clean.undone(done) == (
        "2 connections ended; keeper and guard are stopped, and nothing else was removed: "
        f"{READ_ONLY}; stopped"
    )


def test_tunnels_that_stand_are_named():
    done = Down((Ended(TWO[0], 1, "ended"), Ended(TWO[1], 1, "left", "IKE SA 5 is ESTABLISHED")))
    assert clean.undone(done) == (
        "tunnels do not end: 1 of 2 connections down; keeper and guard are stopped, and nothing else was "
        f"removed: {TWO[1].name}: IKE SA 5 is ESTABLISHED"
    )


def test_what_was_removed_before_a_failure_is_known():
    def fails():
        raise OSError(30, "Read-only file system", "/usr/local/lib/hostipsec")

    parts = (clean.Part({"a": "removed"}, lambda: None), clean.Part({"b": "removed"}, fails))
    gone = clean.Traces(parts).remove()
    assert next(gone) == {"a": "removed"}
    with pytest.raises(
        HostIPsecError, match=r"^/usr/local/lib/hostipsec: cannot be removed: Read-only file sys"
    ):
        next(gone)


def test_a_hold_is_not_dropped_without_a_word(here):
    assert clean.held() == ()
    for who in ("root (Salt)", clean.WHO):
        holdfile.take(Hold(who, NOW, "T1", None, Scope()), (), NOW)
    (said,) = clean.held()
    assert said.startswith("held since 2026-11-24 20:00 UTC by root (Salt)")
    assert said.endswith(": forgotten with this package, so state ipsec would bring it up")
    assert clean.WHO not in said


# Three hosts, compared file by file ----------------------------------------------------------

ID = "cp1.example"
HOST = clean.Minion(ID, "strongswan-starter", lambda _: None, lambda: False, lambda: None)
OWN = {
    "etc/ipsec.conf": "conn vpn\n    left=10.0.0.1\n    right=10.9.9.9\n    leftcert=cp1.example.pem\n",
    "etc/ipsec.secrets": ': RSA "cp1.example.pem"\n',
    "etc/ipsec.d/certs/cp1.example.pem": "his certificate",
    "etc/ipsec.d/private/cp1.example.pem": "his key",
    "etc/ipsec.d/private/cp1.example-0123456789ab.pem": "his as well, by chance",
    "etc/ipsec.d/cacerts/hostipsec-01234567.pem": "his CA",
    f"etc/ipsec.d/crls/{'a' * 40}.crl": "fetched by his charon",
    "etc/strongswan.d/his.conf": "charon { threads = 32 }\n",
    "etc/sysctl.d/60-ipsec.conf": "# his\nnet.core.rmem_max = 4194304\n",
}


@pytest.fixture
def quiet(here, monkeypatch):
    """No package, no charon, nothing in the kernel: files alone."""
    found = dict.fromkeys(("installed", "removal", "owned"))
    found.update(installed=frozenset, removal=lambda *_: clean.packages.Removal(), owned=lambda _: False)
    for name, function in found.items():
        monkeypatch.setattr(clean.packages, name, function)
    monkeypatch.setattr(processes, "run", lambda *_, **__: processes.Result(0, "", ""))
    monkeypatch.setattr(clean.kernel, "observe", Kernel)
    monkeypatch.setattr(clean.kernel, "policies", tuple)
    return here


def given(here, files):
    for name, text in files.items():
        path = here.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (here.root / "etc/ipsec.conf").chmod(0o600)


def footprint(here):
    """Every file and directory: content, mode."""
    found = (path for path in sorted(here.root.rglob("*")) if here.state not in (path, *path.parents))
    return {
        str(path.relative_to(here.root)): (path.stat().st_mode, path.is_file() and path.read_text())
        for path in found
    }


def cleaned(here):
    return [{**part} for part in clean.traces(HOST).remove()]


def test_a_host_that_was_never_a_member_keeps_everything(quiet):
    """`<id>.pem`, the CRLs that its charon had fetched and its file of sysctls were deleted."""
    quiet.state.rmdir()
    given(quiet, OWN)
    before = footprint(quiet)
    assert clean.traces(HOST).parts == ()
    assert cleaned(quiet) == []
    assert footprint(quiet) == before


@pytest.mark.parametrize("own", [{}, OWN], ids=["new", "with a strongSwan of its own"])
def test_a_member_is_as_it_was(quiet, own):
    quiet.proc.joinpath("sys/net/core").mkdir(parents=True)
    quiet.proc.joinpath("sys/net/core/xfrm_larval_drop").write_text("1")
    quiet.ipsec_d.joinpath("private").mkdir(parents=True)
    quiet.sysctl.parent.mkdir(parents=True)
    if own:
        given(quiet, own)
        quiet.ipsec_d.joinpath("private").chmod(0o750)
    before = footprint(quiet)
    generations.keep_before(["strongswan-starter"], ["net.core.xfrm_larval_drop"], False)
    generations.keep_originals()
    ours = render.ipsec_conf(sections.Configuration(connections={"hub_v4": {"leftcert": "x.pem"}}))
    given(
        quiet,
        {
            "etc/ipsec.conf": ours,
            "etc/ipsec.secrets": render.HEADER,
            "etc/strongswan.d/hostipsec.conf": render.HEADER,
            f"etc/ipsec.d/certs/{ID}-aaaaaaaaaaaa.pem": "ours",
            f"etc/ipsec.d/private/{ID}-bbbbbbbbbbbb.pem": "ours",
            "etc/ipsec.d/cacerts/hostipsec-89abcdef.pem": "ours",
            f"etc/ipsec.d/crls/{'b' * 40}.crl": "fetched since",
        },
    )
    quiet.ipsec_d.joinpath("private").chmod(0o700)
    there = quiet.sysctl.read_text() if own else "#\n# Kernel sysctl configuration\n#\n"
    quiet.sysctl.write_text(f"{there}net.core.xfrm_larval_drop = 1\n")
    cleaned(quiet)
    after = footprint(quiet)
    if not own:  # empty directories of strongSwan's go with its package
        after = {path: one for path, one in after.items() if not path.startswith("etc/ipsec.d/")}
        before = {path: one for path, one in before.items() if not path.startswith("etc/ipsec.d/")}
    assert after == before


def test_a_member_since_the_release_before_keeps_what_may_be_anothers(quiet):
    """Nobody noted what stood there: what has our names alone goes."""
    given(quiet, OWN)
    quiet.before.write_text('{"packages": [], "asked": ["strongswan-starter"], "sysctl": {}, "vici": true}')
    cleaned(quiet)
    assert {"etc/ipsec.d/certs/cp1.example.pem", "etc/ipsec.d/private/cp1.example.pem"} <= {*footprint(quiet)}
    assert f"etc/ipsec.d/crls/{'a' * 40}.crl" in footprint(quiet)
    assert quiet.sysctl.read_text() == OWN["etc/sysctl.d/60-ipsec.conf"]
    assert f"etc/ipsec.d/private/{ID}-0123456789ab.pem" not in footprint(quiet)


def test_what_is_purged_takes_no_key_of_others_along(quiet, monkeypatch):
    """dpkg removes all of /etc/ipsec.d with strongSwan: also a key that is the source of ours."""
    given(quiet, OWN)
    generations.keep_before([], [], False)
    monkeypatch.setattr(clean.packages, "removal", lambda *_: clean.packages.Removal(("strongswan-charon",)))
    before = footprint(quiet)

    def purge(_):
        clean.shutil.rmtree(quiet.ipsec_d)
        quiet.conf.unlink()

    host = replace(HOST, purge=purge)
    for _ in clean.traces(host).remove():
        pass
    assert footprint(quiet) == before


# Lines of ours in a file of sysctls ----------------------------------------------------------

SALTS = "#\n# Kernel sysctl configuration\n#\n"


@pytest.mark.parametrize(
    ("text", "before", "left"),
    [
        (f"{SALTS}net.a = 1\n", None, None),
        (f"{SALTS}net.a = 1\nnet.b = 2\n", None, f"{SALTS}net.b = 2\n"),
        ("# his\nnet.a = 1\n", "# his\n", "# his\n"),
        ("net.a = 1\n", "net/a=0\n", "net/a=0\n"),
        ("net.b = 3\nnet.a = 1\n", "net.b = 2\nnet.a = 0\n", "net.b = 3\nnet.a = 0\n"),
        ("net.a = 1\n", "", ""),
    ],
)
def test_only_our_lines_go(text, before, left):
    """The whole file went, with what an operator had in it."""
    assert sysctlconf.without(text, {"net.a"}, before) == left


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("etc/sysctl.d/99-local.conf", "net.a = 0\n", "0"),
        ("etc/sysctl.conf", "-net/a=0\n", "0"),
        ("run/sysctl.d/99-x.conf", "net.a=7\n", "7"),
        ("usr/lib/sysctl.d/99-x.conf", "net.a=7\n", "7"),
        ("usr/lib/sysctl.d/99-x.conf", "net.*=7\n", None),  # ours sets it by its name
        ("etc/sysctl.d/99-local.conf", "net.a =  1\n", None),
        ("etc/sysctl.d/10-local.conf", "net.a = 0\n", None),
        ("etc/sysctl.d/99-local.conf", "# net.a = 0\nnet.b = 0\nnonsense\n", None),
        ("etc/sysctl.d/99-local.txt", "net.a = 0\n", None),
    ],
)
def test_a_later_file_that_wins_at_the_next_boot_is_said(here, name, text, found):
    given_ = here.root / name
    given_.parent.mkdir(parents=True, exist_ok=True)
    given_.write_text(text)
    said = [
        f"sysctl net.a: {given_} sets it to {found} at the next boot, after {here.sysctl} sets 1; "
        f"take it out there, or say {found} in ipsec:sysctl"
    ]
    assert sysctls.overruled({"net.a": "1"}) == (said if found else [])


def test_systemd_reads_sysctl_conf_by_a_link_alone(here):
    """Debian 11 and 12 bring that link, 13 does not: there the file wins nothing, and was said to."""
    here.systemd.mkdir(parents=True)
    (here.root / "etc/sysctl.d").mkdir(parents=True, exist_ok=True)
    here.sysctl_conf.write_text("net.a = 0\n")
    assert sysctls.overruled({"net.a": "1"}) == []
    link = here.root / "etc/sysctl.d/99-sysctl.conf"
    link.symlink_to("../sysctl.conf")
    (said,) = sysctls.overruled({"net.a": "1"})
    assert said.startswith(
        f"sysctl net.a: {link} (a link to {here.sysctl_conf}) sets it to 0 at the next boot, "
    )


def test_a_key_with_a_dash_and_no_value_has_systemd_leave_it_to_the_kernel(here):
    """It was said to win nothing: procps, which was asked, does set ours then."""
    path = here.root / "etc/sysctl.d/99-x.conf"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("net.a = 0\n-net/a\n")
    assert [" sets it to 0 at " in one for one in sysctls.overruled({"net.a": "1"})] == [True]
    here.systemd.mkdir(parents=True)
    assert sysctls.overruled({"net.a": "1"}) == [
        f"sysctl net.a: {path} has systemd leave it as the kernel has it (-net.a) at the next boot, "
        f"after {here.sysctl} sets 1; take it out there"
    ]


def test_a_file_that_is_switched_off_by_a_link_to_dev_null_wins_nothing(here):
    here.systemd.mkdir(parents=True)
    for directory in ("etc/sysctl.d", "usr/lib/sysctl.d"):
        (here.root / directory).mkdir(parents=True, exist_ok=True)
    (here.root / "usr/lib/sysctl.d/99-x.conf").write_text("net.a = 0\n")
    assert len(sysctls.overruled({"net.a": "1"})) == 1
    (here.root / "etc/sysctl.d/99-x.conf").symlink_to("/dev/null")
    assert sysctls.overruled({"net.a": "1"}) == []


def test_the_last_of_all_files_counts_and_one_hides_another_of_its_name(here):
    for name, text in {
        "etc/sysctl.d/99-a.conf": "net.a = 1\n",
        "usr/lib/sysctl.d/99-a.conf": "net.a = 0\n",
        "etc/sysctl.d/80-b.conf": "net.a = 0\n",
    }.items():
        path = here.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert sysctls.overruled({"net.a": "1"}) == []

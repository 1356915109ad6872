"""A CA or a CRL that is copied, with no other change: charon is asked whether it has it."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from clocks import Clock
from hostipsec.apply import copied
from hostipsec.certificates import copies
from hostipsec.charon.credentials import Expected, Loaded, RevocationList
from hostipsec.emergency.host import Host
from hostipsec.errors import CertificateError, CharonError
from hostipsec.system import files

LIST = RevocationList("aa", datetime(2026, 11, 26, tzinfo=timezone.utc), 7)
EXPECTED = Expected(frozenset({"1/bb"}), (("CN=CA", frozenset({"2/cc"})),), (("CN=CA", LIST),))
LOADED = Loaded(authorities=frozenset({"2/cc"}), crls=frozenset({LIST}))


class Charon(Clock, Host):
    """A host whose charon has what a test says; ``answers`` are what a question to it ends in."""

    def __init__(self, loaded=LOADED, running=True, answers=()):
        super().__init__()
        self.loaded, self.running, self.answers, self.rereads, self.time = loaded, running, [*answers], 0, 0

    def observe_if_running(self):
        if self.answers and (error := self.answers.pop(0)):
            raise error
        return "charon" if self.running else None

    def reread(self, timeout=0):
        self.rereads += 1

    def credentials(self, timeout=0):
        return self.loaded


@pytest.fixture
def found(tmp_path, monkeypatch):
    """A difference that renews a file."""
    path = tmp_path / "ca.pem"
    path.write_bytes(b"before")
    monkeypatch.setattr(copies, "write", lambda _: files.swap({path: (b"after", 0o644)}))
    difference = copies.Difference({str(path): "renewed"}, copies.Destination(str(tmp_path), "a"), {}, {})
    return path, difference


def test_what_charon_has_is_well(found):
    path, difference = found
    host = Charon()
    assert copied.apply(difference, EXPECTED, host) == ()
    assert (path.read_bytes(), host.rereads) == (b"after", 1)


def test_a_ca_that_charon_does_not_load_is_not_left_there(found):
    """With no other change nobody asked: peers of that CA were refused from then on."""
    path, difference = found
    host = Charon(Loaded(crls=frozenset({LIST})))
    with pytest.raises(CertificateError) as raised:
        copied.apply(difference, EXPECTED, host)
    assert str(raised.value) == (
        f"charon does not load the CA CN=CA from {difference.destination.root}: see its log; the files are "
        "as they were"
    )
    assert path.read_bytes() == b"before"
    assert host.rereads > 1


@pytest.mark.parametrize("changes", [True, False])
def test_a_list_that_charon_has_not_is_told_at_each_run(found, changes):
    path, difference = found
    if not changes:
        difference = copies.Difference({}, difference.destination, {}, {})
    (said,) = copied.apply(difference, EXPECTED, Charon(Loaded(authorities=LOADED.authorities)))
    place = difference.destination.root
    assert said.startswith(f"charon has not the CRL of CN=CA that is in {place}, and refuses nobody by it")
    assert path.read_bytes() == (b"after" if changes else b"before")


def test_a_charon_that_is_just_starting_has_time(found):
    path, difference = found
    assert copied.apply(difference, EXPECTED, Charon(answers=[CharonError("starting"), None])) == ()
    assert path.read_bytes() == b"after"


def test_a_charon_that_hangs_stops_it(found):
    path, difference = found
    with pytest.raises(CertificateError, match=r"^hangs; the files are as they were$"):
        copied.apply(difference, EXPECTED, Charon(answers=[CharonError("hangs")] * 99))
    assert path.read_bytes() == b"before"


def test_where_none_runs_nobody_is_asked(found):
    path, difference = found
    host = Charon(Loaded(), running=False)
    assert copied.apply(difference, EXPECTED, host) == ()
    assert (path.read_bytes(), host.rereads) == (b"after", 0)

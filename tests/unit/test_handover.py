"""One back end's service in the place of the other's: what a boot would start, after each step of it."""

import pytest

from hostipsec import paths
from hostipsec.model import IPSEC_CONF, SWANCTL
from hostipsec.system import handover, processes, service


class Systemd:
    """The units of both, as systemctl leaves them; what a boot would start after each call."""

    def __init__(self, runs: str) -> None:
        self.enabled = {handover.UNITS[runs]}
        self.masked = {handover.UNITS[handover.other(runs)]}
        self.boots: list[set[str]] = []

    def __call__(self, argv, *_):
        verb, unit = argv[1], argv[-1].removesuffix(".service")
        done = 0
        if verb == "mask":
            self.masked.add(unit)
        elif verb == "unmask":
            self.masked.discard(unit)
        elif verb == "disable":
            self.enabled.discard(unit)
        elif verb == "enable" and unit in self.masked:
            done = 1
        elif verb == "enable":
            self.enabled.add(unit)
        self.boots.append(self.enabled - self.masked)
        return processes.Result(done, "")


@pytest.mark.parametrize("to", [IPSEC_CONF, SWANCTL])
def test_a_host_that_loses_its_power_on_the_way_never_boots_with_both(to, monkeypatch):
    left, units = handover.other(to), handover.UNITS
    systemd = Systemd(left)
    monkeypatch.setattr(processes, "run", systemd)
    monkeypatch.setattr(service, "systemd_runs", lambda: True)
    monkeypatch.setattr(service, "pids", lambda *_, **__: ())
    handover.hand_over(to)
    assert max(map(len, systemd.boots)) == 1
    assert systemd.boots[0] == {units[left]}
    assert systemd.boots[-1] == {units[to]}
    assert systemd.masked == {units[left]}


def test_without_a_move_that_was_cut_off_nothing_is_said_to_systemd(tmp_path, monkeypatch):
    """What an operator masked stays so."""
    monkeypatch.setattr(paths, "here", paths.Paths(tmp_path))
    systemd = Systemd(IPSEC_CONF)
    monkeypatch.setattr(processes, "run", systemd)
    handover.settle(IPSEC_CONF)
    assert systemd.boots == []
    paths.here.state.mkdir(parents=True)
    handover.begin(SWANCTL)
    handover.end()
    before = len(systemd.boots)
    handover.settle(IPSEC_CONF)
    assert len(systemd.boots) == before

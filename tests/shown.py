"""The table of faults: what every face is to show of a host on which one is made.

Functional tests make them at a host with real charons, scenarios on a host whose keeper, Salt and systemd
run; both read the faces' answers by what stands here. What only a kernel can lose or refuse is in
`functional/test_faces` (played).
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

OK, WARNING, CRITICAL, UNKNOWN = range(4)
WELL, DOWN, HELD = ("established", "ok"), ("down", "critical"), ("held", "warning")
NOT_WELL = ("", "")  # whatever the judge says at that moment


@dataclass(frozen=True)
class Shown:
    """What the faces are to show."""

    row: tuple[str, str] = WELL  # state and severity of the connections that the fault touches
    severity: str = "ok"  # of the host
    status: int = OK  # of the plugin
    said: str = ""  # by the command and the plugin, somewhere
    tags: frozenset[str] = frozenset()  # of the beacon's events
    unread: frozenset[str] = frozenset()  # what the sample says could not be read
    strays: int = 0  # SAs or connections that are not configured
    known: bool = True  # whether there is a record to know connections by
    gone: tuple[str, ...] = ()  # connections that are not configured meanwhile
    page: str = ""  # in the page, somewhere
    keeper: bool = True  # whether it looks: its sample, and what is made of it, is of now
    alone: bool = False  # whether the page has nothing of this host
    touched: tuple[str, ...] = ()  # the names of connections that are not WELL

    def verdict(self, configured: Iterable[str]) -> dict[str, tuple[str, str]]:
        """Return state and severity of each connection, of those that are configured otherwise."""
        if not self.known:
            return {}
        well = {name: WELL for name in configured if name not in self.gone}
        return {**well, **dict.fromkeys(self.touched, self.row)}


def _warns(said: str, *tags: str, row: tuple[str, str] = ("established", "warning"), **more: Any) -> Shown:
    return Shown(row, "warning", WARNING, said, frozenset(tags), **more)


def _alarms(said: str, *tags: str, row: tuple[str, str] = DOWN, **more: Any) -> Shown:
    return Shown(row, "critical", CRITICAL, said, frozenset(tags), **more)


def _unread(what: str, said: str, severity: str = "warning", status: int = UNKNOWN, **more: Any) -> Shown:
    """Something could not be read, which an event tells."""
    return Shown(WELL, severity, status, said, frozenset({"look/partial"}), frozenset({what}), **more)


NO_CHARON = _alarms("charon does not answer", "charon/down", unread=frozenset({"charon"}))
NO_ANSWER = Shown(NOT_WELL, tags=frozenset({"peer/down"}))  # of a peer: the judge says what attempts come to
TABLE = {
    "nothing": Shown(),
    # holds
    "one_is_held": _warns("because T1", "hold/set", row=HELD),
    "everything_is_held": _warns("because T2", "hold/set", row=HELD),
    "held_and_yet_up": _alarms("yet it has SAs", "hold/set", row=("established", "critical")),
    "the_hold_is_damaged": _unread("hold", "hold.json cannot be read", "critical", CRITICAL),
    "the_other_end_is_held": _alarms("", "peer/down", page="held"),
    # connections
    "one_is_down": _alarms("loaded, but no SA; this host starts it", "connection/down"),
    "all_are_down": _alarms("loaded, but no SA", "connection/down"),
    "a_peer_is_silent": _warns("no answer of the peer yet", "connection/down", row=("connecting", "warning")),
    "an_ike_sa_without_a_child": _alarms(
        "has no CHILD SA: nothing is encrypted", "connection/down", row=("no child", "critical")
    ),
    "a_duplicate": _warns("one is meant", row=("duplicate", "warning")),
    "one_is_not_loaded": _warns(
        "charon has not loaded this connection: once its SAs end, nothing brings it back"
    ),
    "one_is_neither_loaded_nor_up": _alarms("charon has not loaded this connection", "connection/down"),
    "a_connection_of_nobody": _warns("stranger", strays=1),
    "an_address_that_is_not_here": _alarms("", "connection/down", row=("no address", "critical")),
    "one_is_passive": Shown(("down", "ok")),
    "one_requires_and_has_no_trap": _warns(
        "no trap: without an SA its traffic goes in the clear", "guard/missing"
    ),
    # maintenance: SAs of a host that has it are nobody's, those of its peer end with the pillar
    "one_in_maintenance": Shown(strays=1),
    "a_peer_is_in_maintenance": Shown(page="maintenance"),
    # peers
    "a_peer_is_off": NO_ANSWER,
    "the_cable_of_a_peer_is_cut": NO_ANSWER,
    "its_own_cable_is_cut": NO_ANSWER,
    "the_charon_of_a_peer_is_stopped": NO_ANSWER,
    # charon
    "charon_hangs": NO_CHARON,
    "charon_is_dead": NO_CHARON,
    "strongswan_is_stopped": NO_CHARON,
    "charon_runs_outside_of_its_unit": _warns("charon runs outside of strongswan-starter"),
    "vici_is_gone": Shown(),
    # the record
    "the_record_is_damaged": _unread("record", "mesh.json cannot be read"),
    "nothing_tells_of_connections": _unread("record", "mesh.json cannot be read", "critical", known=False),
    # the certificate
    "the_certificate_ends_soon": _warns("certificate expires in ", "certificate/expiring"),
    "the_certificate_has_expired": _alarms("certificate expired on ", "certificate/expiring"),
    "the_certificate_is_gone": _unread("certificate", "is not there"),
    # programs
    "the_keeper_is_stopped": _warns("hostipsec-keeper.service does not run", keeper=False),
    "the_minion_is_dead": Shown(page="does not answer", alone=True),
}


class Faults(dict[str, tuple[Callable[..., Any], Shown]]):
    """Faults of the table that a layer makes: by name, how each is made and undone, and what is shown."""

    def made(self, *touched: str, **here: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Enter what makes the fault of its name; ``here`` is what this layer can say more exactly."""

        def entered(make: Callable[..., Any]) -> Callable[..., Any]:
            shown = replace(TABLE[make.__name__], touched=touched, **here)
            self[make.__name__] = contextlib.contextmanager(make), shown
            return make

        return entered


def rows(text: str) -> dict[str, dict]:
    """Return the connections of a face that prints JSON, by name; none where it prints a sentence."""
    return json.loads(text).get("connections", {}) if text.startswith("{") else {}


def told(text: str) -> dict[str, tuple[str, str]]:
    """Return the verdicts of it: {name: (state, severity)}."""
    return {name: (row["state"], row["severity"]) for name, row in rows(text).items()}

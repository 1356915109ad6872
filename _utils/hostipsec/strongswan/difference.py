"""What changes from one configuration of a host to the next, in terms of connections and options."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Optional

from ..errors import ConfigError
from ..model import Settings
from . import options, swanctl
from .sections import Configuration

Change = tuple[Optional[str], Optional[str]]  # old and new; None where there is none
Changes = Mapping[str, Change]

# What charon or starter takes up without a restart: settings that are read at each use or by
# `reload-settings` (ike_sa.c, task_manager_v2.c, child_create.c, daemon.c load_loggers).
LIVE_SETTINGS = (
    "charon.close_ike_on_child_failure",
    "charon.delete_rekeyed",
    "charon.filelog.",
    "charon.half_open_timeout",
    "charon.make_before_break",
    "charon.retransmit_",
    "charon.syslog.",
)
# What the package derives from the number of peers: it waits for the next start of charon, since a
# change of peers restarts nothing.
DERIVED_SETTINGS = (
    "charon.block_threshold",
    "charon.cookie_threshold",
    "charon.ikesa_table_segments",
    "charon.ikesa_table_size",
    "charon.processor.priority_threads.",
    "charon.threads",
)
# Ours where a pair is in `require`: charon starts anew without such a plugin, and goes on where it has none.
KEPT_OUT = {"charon.plugins.bypass-lan.load": "bypass-lan"}
LIVE_SETUP = ("charondebug",)
MOVES = (
    "one charon ends and another one starts: all of its tunnels end, and are back within seconds; meanwhile "
    "nothing goes in the clear where a pair is in stage require, else it does"
)
FOREIGN = "removed lines"  # the key of what another hand wrote, in changes


@dataclass(frozen=True)
class Difference:
    """From the configuration on disk to the one wanted."""

    new: bool = False  # nothing of ours was there
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: Mapping[str, Changes] = field(default_factory=dict)  # connection -> option -> change
    defaults: Changes = field(default_factory=dict)  # options of all connections
    setup: Changes = field(default_factory=dict)
    charon: Changes = field(default_factory=dict)  # strongswan.conf, by dotted name
    secrets: bool = False
    foreign: tuple[str, ...] = ()  # lines that this package did not write
    kept: str = ""  # what becomes of connections of others
    aside: tuple[str, ...] = ()  # those removed that are of others
    backend: Optional[Change] = None  # where the host runs by another one

    @property
    def empty(self) -> bool:
        """Say whether both configurations mean the same."""
        return self == Difference()

    def restart_reasons(self, chosen: Collection[str], loaded: Collection[str] = ()) -> tuple[str, ...]:
        """Say why charon must be restarted.

        ``chosen`` are the operator's keys of strongswan.conf, ``loaded`` the plugins that charon has.
        """
        if self.new:
            return ("first configuration",)
        if self.backend:
            return (f"backend: {_arrow(self.backend)}",)
        reasons = [
            f"setup {key}: {_arrow(change)}" for key, change in self.setup.items() if key not in LIVE_SETUP
        ]
        for key, change in self.charon.items():
            waits = is_derived(key, chosen) or (key not in chosen and _kept_out(key, change, loaded))
            if not waits and not key.startswith(LIVE_SETTINGS):
                reasons.append(f"{key}: {_arrow(change)}")
        return tuple(reasons)

    def as_changes(self) -> dict[str, object]:
        """Return the difference as a state reports it."""
        changed = {name: _old_new(changes) for name, changes in self.changed.items()}
        parts: dict[str, object] = {
            "added": list(self.added),
            "removed": [name for name in self.removed if name not in self.aside],
            "changed": changed,
        }
        result: dict[str, object] = {}
        if connections := {key: value for key, value in parts.items() if value}:
            result["connections"] = connections
        if self.kept or self.aside:
            aside = f"kept aside: {', '.join(self.aside)}" if self.aside else ""
            result["connections of others"] = "; ".join(filter(None, [self.kept, aside]))
        if self.new:
            return {**result, "configuration": "new"}
        if self.backend:
            result["backend"] = _arrow(self.backend)
        for key, changes in (
            ("all connections", self.defaults),
            ("config setup", self.setup),
            ("strongswan.conf", self.charon),
        ):
            if changes:
                result[key] = _old_new(changes)
        if self.secrets:
            result["ipsec.secrets"] = "rewritten"
        if self.foreign:
            result[FOREIGN] = list(self.foreign)
        return result


def _kept_out(key: str, change: Change, loaded: Collection[str]) -> bool:
    """Say whether a plugin stays out that charon does not have, or is the host's own matter again."""
    if key not in KEPT_OUT:
        return False
    return change == ("no", None) or (change == (None, "no") and KEPT_OUT[key] not in loaded)


def between(old: Configuration, new: Configuration) -> Difference:
    """Compare two configurations by meaning, also what stands in files of two back ends."""
    backend = (old.backend, new.backend) if old.ours and old.backend != new.backend else None
    old, new = map(_alike, (old, new)) if backend else (old, new)
    common = sorted(old.names & new.names)
    changed = {name: _options(old.connections[name], new.connections[name]) for name in common}
    return Difference(
        new=not old.ours,
        added=tuple(sorted(new.names - old.names)),
        removed=tuple(sorted(old.names - new.names)),
        changed={name: changes for name, changes in changed.items() if changes},
        defaults=_options(old.defaults, new.defaults),
        setup=_options(old.setup, new.setup),
        charon=_changes(flat(old.strongswan), flat(new.strongswan), options.canonical_setting),
        secrets=old.secret is None or old.secret != new.secret or old.kept != new.kept,
        foreign=tuple(sorted({*old.foreign} - {*new.foreign})),
        kept=""
        if old.kept == new.kept
        else "kept in a file of their own"
        if new.kept
        else "no longer included",
        backend=backend,
    )


def _alike(value: Configuration) -> Configuration:
    """Return a value as swanctl's file has it; of one that it cannot say, that all of it is others."""
    try:
        return swanctl.settled(value)
    except (ConfigError, ValueError):
        return Configuration(ours=value.ours)


def chosen(settings: Settings) -> frozenset[str]:
    """Return the keys of strongswan.conf that the pillar has, as ``charon.threads``."""
    return frozenset(flat({"charon": settings.charon}))


def is_derived(key: str, chosen: Collection[str]) -> bool:
    """Say whether a key of strongswan.conf follows from the number of peers; ``chosen`` are the pillar's."""
    return key.startswith(DERIVED_SETTINGS) and key not in chosen


def flat(tree: Mapping[str, object], above: str = "") -> dict[str, str]:
    """Return ``{"charon.plugins.vici.load": "yes"}`` for a tree."""
    result: dict[str, str] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            result.update(flat(value, f"{above}{key}."))
        else:
            result[f"{above}{key}"] = str(value)
    return result


def _options(old: Mapping[str, str], new: Mapping[str, str]) -> dict[str, Change]:
    return _changes(old, new, options.canonical)


def _changes(
    old: Mapping[str, str], new: Mapping[str, str], meaning: Callable[[str, str], object]
) -> dict[str, Change]:
    changes = {key: (old.get(key), new.get(key)) for key in sorted({*old, *new})}
    return {key: change for key, change in changes.items() if not _same(key, change, meaning)}


def _same(key: str, change: Change, meaning: Callable[[str, str], object]) -> bool:
    before, after = change
    return before is not None and after is not None and meaning(key, before) == meaning(key, after)


def _old_new(changes: Changes) -> dict[str, dict[str, Optional[str]]]:
    return {key: {"old": old, "new": new} for key, (old, new) in changes.items()}


def _arrow(change: Change) -> str:
    old, new = change
    return f"{'unset' if old is None else old} -> {'unset' if new is None else new}"

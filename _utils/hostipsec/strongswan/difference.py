"""What changes from one configuration of a host to the next, in terms of connections and options."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Optional

from . import options, render

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
LIVE_SETUP = ("charondebug",)


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
    mesh: bool = False  # the record of this host's connections
    foreign: tuple[str, ...] = ()  # lines that this package did not write

    @property
    def empty(self) -> bool:
        """Say whether both configurations mean the same."""
        return self == Difference()

    def restart_reasons(self, chosen: Mapping[str, object]) -> tuple[str, ...]:
        """Say why charon must be restarted; ``chosen`` holds the operator's strongswan.conf keys."""
        if self.new:
            return ("first configuration",)
        named = flat({"charon": chosen})
        reasons = [
            f"setup {key}: {_arrow(change)}" for key, change in self.setup.items() if key not in LIVE_SETUP
        ]
        for key, change in self.charon.items():
            if not is_derived(key, named) and not key.startswith(LIVE_SETTINGS):
                reasons.append(f"{key}: {_arrow(change)}")
        return tuple(reasons)

    def as_changes(self) -> dict[str, object]:
        """Return the difference as a state reports it."""
        changed = {name: _old_new(changes) for name, changes in self.changed.items()}
        parts: dict[str, object] = {
            "added": list(self.added),
            "removed": list(self.removed),
            "changed": changed,
        }
        result: dict[str, object] = {}
        if connections := {key: value for key, value in parts.items() if value}:
            result["connections"] = connections
        if self.new:
            return {**result, "configuration": "new"}
        for key, changes in (
            ("all connections", self.defaults),
            ("config setup", self.setup),
            ("strongswan.conf", self.charon),
        ):
            if changes:
                result[key] = _old_new(changes)
        if self.secrets:
            result["ipsec.secrets"] = "rewritten"
        if self.mesh and not result:
            result["mesh.json"] = "rewritten"
        if self.foreign:
            result["removed lines"] = list(self.foreign)
        return result


def between(old: Mapping[str, Optional[str]], new: Mapping[str, str]) -> Difference:
    """Compare by meaning; both map ``conf``, ``secrets``, ``strongswan`` and ``mesh`` to a file's text."""
    before = render.parse_ipsec_conf(old["conf"] or "")
    after = render.parse_ipsec_conf(new["conf"])
    names_before, names_after = _names(before), _names(after)
    common = names_before & names_after
    changed = {name: _options(before[name], after[name]) for name in sorted(common)}
    return Difference(
        new=not (old["conf"] or "").startswith(render.HEADER),
        added=tuple(sorted(names_after - names_before)),
        removed=tuple(sorted(names_before - names_after)),
        changed={name: changes for name, changes in changed.items() if changes},
        defaults=_options(before.get("%default", {}), after.get("%default", {})),
        setup=_options(before.get("setup", {}), after.get("setup", {})),
        charon=_changes(
            _settings(old["strongswan"]), _settings(new["strongswan"]), options.canonical_setting
        ),
        secrets=old["secrets"] != new["secrets"],
        mesh=old.get("mesh") != new.get("mesh"),
        foreign=tuple(sorted(before.get(render.FOREIGN, {}))),
    )


def is_derived(key: str, chosen: Collection[str]) -> bool:
    """Say whether a key of strongswan.conf follows from the number of peers; ``chosen`` are the pillar's."""
    return key.startswith(DERIVED_SETTINGS) and key not in chosen


def names(conf: Optional[str]) -> frozenset[str]:
    """Return the names of the connections in an ipsec.conf."""
    return _names(render.parse_ipsec_conf(conf or ""))


def flat(tree: Mapping[str, object], above: str = "") -> dict[str, str]:
    """Return ``{"charon.plugins.vici.load": "yes"}`` for a tree."""
    result: dict[str, str] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            result.update(flat(value, f"{above}{key}."))
        else:
            result[f"{above}{key}"] = str(value)
    return result


def _names(sections: Mapping[str, object]) -> frozenset[str]:
    return frozenset(sections) - {"%default", "setup", render.FOREIGN}


def _settings(text: Optional[str]) -> dict[str, str]:
    return flat(render.parse_strongswan_conf(text or ""))


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

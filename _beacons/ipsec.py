"""
Tell the master what changed: connections down and up, holds, the certificate, charon, guard and keeper.

Reads the sample that the keeper leaves at each look, and nothing else: it runs inside the minion's loop,
which waits for it. It imports nothing of the engine: the minion's main process would keep that version for
all its jobs. What was told is kept in a file, so that neither a restart of the minion nor a refresh of the
pillar tells it again. docs/events.md has the events.

.. code-block:: yaml

    beacons:
      ipsec:
        - interval: 10
"""

import json
import logging
import os
import stat
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple, Optional

log = logging.getLogger(__name__)

SAMPLE = "/run/hostipsec/state.json"
MEMORY = "hostipsec-told.json"  # in the minion's cache directory, which a reboot leaves
SCHEMA = 1  # of the sample
KEPT = 1  # schema of the memory
STALE = 60.0  # seconds after which a sample says nothing of connections any more
DOUBT = 10.0  # seconds that a sample has to be old for: a clock that jumps makes it old for one look
LARGEST = 1 << 25  # bytes of a file that is read
MANY = 5  # events of a kind at once; more are one
FLAPS, WITHIN = 4, 3600.0  # so many losses of a connection within so many seconds, and it flaps
DAY = 86400.0
EXPIRES = (0, 3)  # days that the certificate has left, each told; before them where the judge warns
WARN_DAYS = 30  # of a sample that does not tell
SALT_KEYS = {"interval", "enabled", "disable_during_state_run", "beacon_module", "run_once", "_beacon_name"}
KEYS = {"sample", *SALT_KEYS}

# what is wrong -> its tag, and that of its end
ENDS = {
    "connection/down": "connection/up",
    "connection/flapping": "connection/up",
    "peer/down": "peer/up",
    "charon/down": "charon/up",
    "guard/missing": "guard/restored",
    "certificate/expiring": "certificate/renewed",
    "hold/set": "hold/lifted",
    "keeper/dead": "keeper/alive",
    "look/partial": "look/whole",
}
EXCUSED, LOST, JOINED = "connection/excused", "memory/lost", ("connection/many", "hold/many")
TAGS = {*ENDS, *ENDS.values(), EXCUSED, LOST, *JOINED}
# what could not be read -> the kinds of which the sample then says nothing
BLIND = {
    "charon": {"connection", "charon"},
    "kernel": {"guard"},
    "record": {"connection", "guard", "charon"},
    "certificate": {"certificate"},
    "hold": {"hold"},
}


class Connection(NamedTuple):
    """One connection of the sample."""

    name: str
    peer: str
    family: str
    stage: str
    sites: str
    state: str
    reason: str
    expected: bool
    up: bool
    held: bool
    losses: int
    changed: Optional[float]


class Sample(NamedTuple):
    """What the keeper's last look found, as far as it is told."""

    time: float
    connections: dict[str, Connection]
    charon: bool
    certificate: Optional[float]
    warn_days: float
    holds: tuple[dict[str, Any], ...]
    guard: int
    unread: dict[str, str]


class Wrong(NamedTuple):
    """Something that is wrong: its tag, what makes it another one, and what is told of it."""

    tag: str
    data: dict[str, Any]
    level: str = ""


class Memory(NamedTuple):
    """What was told; by keys as ``connection cp3001_v4``."""

    told: dict[str, list[Any]]  # key -> tag, level, since
    doubted: dict[str, float]  # key -> look that saw it first; told at the next
    states: dict[str, str]  # connection -> state while it was well
    losses: dict[str, list[Any]]  # connection -> their number, when the last ones were seen
    silent: Optional[list[float]] = None  # when no sample was found first: seconds since boot, since 1970
    lost: str = ""  # why nothing is known of what was told; until it is told


NOTHING = Memory({}, {}, {}, {})
_parsed: dict[str, tuple[object, object]] = {}  # path of a sample -> its stamp, and what it says
_told: dict[str, Sample] = {}  # path of a sample -> the last one that was told of
_kept: dict[str, Memory] = {}  # path of a memory -> what it was last; also where the disk is full


def validate(config):
    """Return whether the configuration can be used, and why not. Called each second: looks at no file."""
    if not isinstance(config, list) or not all(isinstance(one, dict) for one in config):
        return False, f"beacons: ipsec: found {config!r:.80}; allowed: a list, as [interval: 10]"
    given = {key: value for one in config for key, value in one.items()}
    unknown = sorted(map(str, given.keys() - KEYS))
    if unknown:
        return False, f"beacons: ipsec: found {', '.join(unknown)}; allowed: {', '.join(sorted(KEYS))}"
    interval, sample = given.get("interval", 1), given.get("sample", SAMPLE)
    if isinstance(interval, bool) or not isinstance(interval, (int, float)) or not 0 < interval <= DAY:
        return False, f"beacons: ipsec: interval: found {interval!r:.80}; allowed: seconds, 1 to 86400"
    if not isinstance(sample, str) or not sample.startswith("/"):
        return False, f"beacons: ipsec: sample: found {sample!r:.80}; allowed: the path of a file"
    return True, "Valid beacon configuration"


def beacon(config):
    """Return the events since the last call: a list of dictionaries, ``tag`` and data."""
    given = {key: value for one in config for key, value in one.items()}
    path, memory_path = str(given.get("sample", SAMPLE)), str(Path(__opts__["cachedir"]) / MEMORY)
    before, found, now = _recalled(memory_path), _sampled(path), time.time()
    if isinstance(found, Sample) and abs(now - found.time) <= STALE:
        if found is _told.get(path):
            return []
        memory, events = changes(before, found)
        _told[path] = found
    else:
        memory, events = silence(before, found, time.monotonic(), now)
    if memory != before:
        _keep(memory_path, memory)
    return events


# What changed: values in, values out ---------------------------------------------------------


def changes(memory, sample):
    """Return what is remembered after a look, and the events. What is wrong is told at its second look."""
    losses = _losses(memory.losses, sample)
    found, blind = _wrong(sample, losses), _blind(sample)
    fresh = {key: one for key, one in found.items() if memory.told.get(key, [])[:2] != [one.tag, one.level]}
    doubted = {key: memory.doubted.get(key, sample.time) for key in fresh if key not in memory.told}
    doubted = {key: first for key, first in doubted.items() if first == sample.time}
    new = {key: one for key, one in fresh.items() if key not in doubted}
    over = {key: one for key, one in memory.told.items() if key not in found and _kind(key) not in blind}
    kept = {key: one for key, one in memory.told.items() if key not in over}
    told = {**kept, **{key: [one.tag, one.level, one.data["since"]] for key, one in new.items()}}
    events = [_begun(key, one, memory) for key, one in new.items()]
    events += [_over(key, one, sample) for key, one in over.items()]
    events = _joined(_by_peer(sorted(events, key=_of_connection), told, sample))
    waits = memory.lost if doubted and not memory.doubted else ""
    states = memory.states if "connection" in blind else _states(memory.states, found, sample)
    after = Memory(told, doubted, states, losses, None, waits)
    return after, events if memory.lost == waits else _in_one(memory.lost, events, sample.time)


def _begun(key, one, memory):
    """Return the event that tells what is wrong."""
    before = memory.told.get(key)
    previous = _level(before) if before else memory.states.get(one.data.get("connection"), "")
    return {"tag": one.tag, **one.data, "previous": previous}


def _of_connection(event):
    return event["tag"].startswith("connection/")


def _states(before, found, sample):
    """Return the state of each connection while it was well."""
    return {
        name: before.get(name, "") if f"connection {name}" in found else one.state
        for name, one in sample.connections.items()
    }


def silence(memory, why, clock, now):
    """Return the same where there is no sample that says anything: one event once that lasts."""
    old = isinstance(why, Sample)
    first = memory.silent
    if first is None or first[0] > clock:  # seconds since boot: there was another one meanwhile
        first = [clock, now]
    memory = memory._replace(silent=first)
    if "keeper" in memory.told or clock - first[0] < (DOUBT if old else STALE):
        return memory, []
    reason = f"it looked last {abs(now - why.time):.0f} s ago" if old else why
    since = why.time if old else first[1]
    told = {**memory.told, "keeper": ["keeper/dead", "", since]}
    events = [{"tag": "keeper/dead", "reason": reason, "since": since, "previous": ""}]
    after = memory._replace(told=told, lost="")
    return after, _in_one(memory.lost, events, now) if memory.lost else events


def _wrong(sample, losses):
    """Return what is wrong, by key."""
    unread = {what: why for what, why in sample.unread.items() if what != "charon"}
    found = {f"look {what}": _unread(what, why, sample) for what, why in unread.items()}
    if not sample.charon and any(not one.held for one in sample.connections.values()):
        reason = sample.unread.get("charon", "charon does not answer")
        found["charon"] = Wrong("charon/down", {"reason": reason, "since": sample.time})
    if sample.guard:
        reason = f"policies of stage require that are missing: {sample.guard}"
        found["guard"] = Wrong("guard/missing", {"reason": reason, "since": sample.time})
    if "hold" not in sample.unread:
        found.update((f"hold {one['what']} {one['by']} {one['since']}", _held(one)) for one in sample.holds)
    found.update(_expiring(sample))
    if "connection" not in _blind(sample):
        found.update(_connections(sample, losses))
    return found


def _unread(what, why, sample):
    return Wrong("look/partial", {"what": what, "reason": why, "since": sample.time})


def _held(hold):
    names = ("what", "by", "since", "until")
    return Wrong("hold/set", {**{name: hold[name] for name in names}, "reason": hold["why"]})


def _expiring(sample):
    """Yield the step that the certificate has come to."""
    if sample.certificate is None:
        return
    left = (sample.certificate - sample.time) / DAY
    step = next((days for days in sorted({*EXPIRES, sample.warn_days}) if left < days), None)
    if step is not None:
        reason = f"it expires in {left:.1f} days" if left > 0 else "it has expired"
        data = {"reason": reason, "until": sample.certificate, "since": sample.time}
        yield "certificate", Wrong("certificate/expiring", data, str(step))


def _connections(sample, losses):
    """Yield what has to carry now and does not, and what comes and goes."""
    for name, one in sample.connections.items():
        flaps = len(losses[name][1]) == FLAPS and one.expected
        if flaps or (one.expected and not one.up):
            often = f"lost {FLAPS} times within {WITHIN / 60:.0f} min; now {one.state}"
            data = {**_place(one), "state": one.state, "reason": often if flaps else one.reason}
            tag = "connection/flapping" if flaps else "connection/down"
            yield f"connection {name}", Wrong(tag, {**data, "since": _since(one, sample)})


def _place(one):
    names = ("peer", "family", "stage", "sites")
    return {"connection": one.name, **{name: getattr(one, name) for name in names}}


def _since(one, sample):
    return sample.time if one.changed is None else one.changed


def _losses(before, sample):
    """Return the number of losses, and when the last of them were seen; those of long ago are forgotten."""
    found = {}
    for name, one in sample.connections.items():
        number, times = before.get(name, [one.losses, []])
        seen = [*times, *[sample.time] * min(FLAPS, max(0, one.losses - number))]
        found[name] = [one.losses, [when for when in seen if 0 <= sample.time - when < WITHIN][-FLAPS:]]
    return found


def _blind(sample):
    """Return the kinds of which the sample says nothing."""
    unknown = {"charon": not sample.charon, "certificate": sample.certificate is None}
    unread = {*sample.unread, *(what for what, missing in unknown.items() if missing)}
    return {kind for what in unread for kind in BLIND.get(what, ())}


def _kind(key):
    return key.partition(" ")[0]


def _level(before):
    return before[0].partition("/")[2]


def _over(key, before, sample):
    """Return the event that ends what was told."""
    tag, since = ENDS[before[0]], before[2]
    event = {"previous": _level(before), "since": sample.time, "lasted": round(sample.time - since, 1)}
    kind, _, name = key.partition(" ")
    if kind == "connection":
        one = sample.connections.get(name)
        if one is None or not one.up:
            reason = "no longer configured" if one is None else one.reason or one.state
            place = {"connection": name} if one is None else _place(one)
            return {"tag": EXCUSED, **event, **place, "reason": reason}
        return {"tag": tag, **event, **_place(one), "state": one.state, "reason": one.reason}
    return {"tag": tag, **event, **({"what": name} if name else {}), "reason": ""}


def _by_peer(events, told, sample):
    """Join the connections of a peer that are all down, or all up again: two at least."""
    peers, gathered = {}, {}
    for one in sample.connections.values():
        if one.expected:
            down = told.get(f"connection {one.name}", [""])[0] == "connection/down"
            peers.setdefault(one.peer, {})[one.name] = down
    for one in events:
        joined = {"connection/down": "peer/down", "connection/up": "peer/up"}.get(one["tag"], "")
        gathered.setdefault((joined, one.get("peer", "")), []).append(one)
    out = []
    for (joined, peer), some in gathered.items():
        every = peers.get(peer, {})
        number = len(every if joined == "peer/down" else some)
        whole = joined and number > 1 and {*every.values()} == {joined == "peer/down"}
        out += [_of_peer(joined, some, every)] if whole else some
    return out


def _of_peer(tag, some, every):
    names = ("peer", "sites", "stage", "reason", "since", "previous")
    return {"tag": tag, **{name: some[0][name] for name in names}, "connections": sorted(every)}


def _joined(events):
    """Make one event of more than five of a kind."""
    for tag, kinds in (("connection/many", ("connection", "peer")), ("hold/many", ("hold",))):
        some = [one for one in events if one["tag"].partition("/")[0] in kinds]
        if len(some) > MANY:
            others = [one for one in events if one["tag"].partition("/")[0] not in kinds]
            events = [*others, _summed(tag, some)]
    return events


def _summed(tag, events):
    """Return one event for many: names by what became of them, and the reason that most have."""
    found = {}
    for one in events:
        names = one.get("connections") or [one.get("connection") or one.get("what", "")]
        found.setdefault(one["tag"].partition("/")[2], []).extend(names)
    reasons = Counter(one["reason"] for one in events)
    (reason, _), *_ = reasons.most_common(1)
    return {
        "tag": tag,
        **{what: sorted(names) for what, names in found.items()},
        "count": sum(map(len, found.values())),
        "reason": reason,
        "since": min(one["since"] for one in events),
    }


def _in_one(why, events, now):
    """Return one event for all, where it is not known what was told before."""
    return [{"tag": LOST, "reason": why, "since": now, "events": events}]


# Files ---------------------------------------------------------------------------------------


def _sampled(path):
    """Return the sample, or why there is none; a file that was read already is not read again."""
    try:
        found = os.stat(path)  # noqa: PTH116  as its numbers
        stamp = (found.st_mtime_ns, found.st_ino, found.st_size)
    except OSError as error:
        return f"{path}: {error.strerror}"
    if _parsed.get(path, (None, None))[0] != stamp:
        _parsed[path] = stamp, _read(path, found, _sample)
    return _parsed[path][1]


def _read(path, found, of):
    """Return what a file says, or why it says nothing."""
    if not stat.S_ISREG(found.st_mode) or found.st_size > LARGEST:
        return f"{path}: no file, or one of more than {LARGEST >> 20} MB"
    try:
        return of(json.loads(Path(path).read_bytes()))
    except OSError as error:
        return f"{path}: {error.strerror}"
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError) as error:
        return f"{path} cannot be read ({error!r:.100})"


def _sample(found):
    if found["schema"] != SCHEMA:
        raise ValueError(f"schema {found['schema']!r:.20}, not {SCHEMA}")
    rows = [_connection(one) for one in found["connections"]]
    return Sample(
        float(found["time"]),
        {one.name: one for one in rows},
        found["charon"] is not None,
        _moment(found["certificate"]),
        WARN_DAYS if found.get("warn_days") is None else int(found["warn_days"]),
        tuple(_hold(one) for one in found["holds"]),
        int(found["guard_missing"] or 0),
        {str(what): str(why) for what, why in found["unread"].items()},
    )


def _connection(found):
    texts = ("name", "peer", "family", "stage", "sites", "state", "reason")
    switches = ("expected", "up", "held")
    if not all(isinstance(found[name], bool) for name in switches):
        raise ValueError(f"{found['name']!r:.40}: expected, up, held")
    return Connection(
        *(str(found[name]) for name in texts),
        *(found[name] for name in switches),
        int(found["losses"]),
        _moment(found["changed"]),
    )


def _hold(found):
    texts = {name: str(found[name]) for name in ("what", "by", "why")}
    return {**texts, "since": float(found["since"]), "until": _moment(found["until"])}


def _moment(found):
    return None if found is None else float(found)


def _recalled(path):
    """Return what was told; of a file that cannot be read, nothing, and why."""
    if path not in _kept:
        try:
            memory = _read(path, os.stat(path), _memory)  # noqa: PTH116  as its numbers
        except FileNotFoundError:
            memory = NOTHING
        except OSError as error:
            memory = f"{path}: {error.strerror}"
        _kept[path] = memory if isinstance(memory, Memory) else NOTHING._replace(lost=memory)
    return _kept[path]


def _memory(found):
    if found.pop("schema") != KEPT:
        raise ValueError("another schema")
    memory = Memory(**found)
    for tag, level, since in memory.told.values():
        _ = ENDS[tag], level + "", since + 0.0
    for number, times in memory.losses.values():
        _ = number + 0, [when + 0.0 for when in times]
    _ = [when + 0.0 for when in [*memory.doubted.values(), *(memory.silent or (0, 0))]]
    _ = [state + "" for state in memory.states.values()], memory.lost + ""
    return memory


def _keep(path, memory):
    """Write what was told, replaced atomically; where the disk is full, this process remembers it alone."""
    _kept[path] = memory
    new = f"{path}.new"
    try:
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(json.dumps({"schema": KEPT, **memory._asdict()}))
        os.replace(new, path)  # noqa: PTH105  as above
    except OSError as error:
        log.warning("%s cannot be written (%s): a restart tells again what was told", path, error.strerror)

"""What a host has of strongSwan that is not ours: it is not taken over unasked.

The pillar's ``existing`` decides: ``keep`` puts connections and secrets of others into files of their own
that ours include; ``replace`` keeps them aside, below ``/var/lib/hostipsec/original``. ``ipsec.clean`` brings
both back as they were. A host whose ipsec.conf is ours has of others only what was added to it by hand.
"""

from __future__ import annotations

import contextlib
import glob
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .. import paths
from ..errors import ConfigError, HostIPsecError
from ..kernel import addresses
from ..model import IPSEC_CONF, SWANCTL, Connection
from ..pillar.membership import Membership
from ..store import generations, present, record
from ..strongswan import kept, parse, ranges, render
from ..strongswan.kept import Section
from ..strongswan.sections import Configuration
from ..system import backend, files, packages, ports, tools

KEEP, REPLACE = "keep", "replace"
_DEPTH = 8  # of files that include each other
_ONE = "a host has one IKE daemon: stop and disable it, then apply again"


@dataclass(frozen=True)
class Others:
    """What is there of others."""

    sections: tuple[Section, ...] = ()  # of ipsec.conf, with what it includes
    secrets: tuple[str, ...] = ()  # lines of ipsec.secrets
    settings: tuple[Path, ...] = ()  # files below strongswan.d that no package has brought
    added: bool = False  # to an ipsec.conf of ours, by hand

    @property
    def names(self) -> frozenset[str]:
        """The names of the connections."""
        return frozenset(one.name for one in self.sections if one.kind == "conn")

    def __bool__(self) -> bool:
        """Whether there is anything."""
        return bool(kept.said(self.sections) or self.secrets or self.settings)

    def __str__(self) -> str:
        """Say what there is; no secret."""
        found = kept.said(self.sections)
        parts = [f"{paths.here.conf}: {', '.join(found)}"] if found else []
        parts += [f"{paths.here.secrets}: {len(self.secrets)} line(s)"] if self.secrets else []
        return "; ".join([*parts, *map(str, self.settings)])


def obstacles(member: Membership) -> list[str]:
    """Say what stands in the way of connections of ours, before anything is changed."""
    charon = member.fleet.settings.charon
    numbers = (charon.get("port", 500), charon.get("port_nat_t", 4500))
    wanted = {int(one) for one in map(str, numbers) if one.isdecimal() and one != "0"}
    by = backend.chosen(member.backend)
    found = [f"{one}; {_ONE}" for one in _strangers(wanted, by)]
    undecided = _undecided_by_swanctl(member) if by == SWANCTL else _undecided(member)
    found += [*_limited(member), *_unheard(member)]
    return [*found, *_moved(member, by), *undecided, *_open(member), *_unbound(member)]


def _unheard(member: Membership) -> Iterator[str]:
    """Say at which interfaces this host has addresses where charon drops whatever comes (receiver.c)."""
    charon = member.fleet.settings.charon
    key = next((one for one in ("interfaces_use", "interfaces_ignore") if one in charon), "")
    if not key or tools.lacking():
        return
    named = {one.strip() for one in str(charon[key]).split(",")}
    there = addresses.interfaces(one.left for one in member.connections)
    for address, names in sorted(there.items(), key=str):
        if not any((name in named) == (key == "interfaces_use") for name in names):
            yield (
                f"ipsec:charon:{key}: found {charon[key]!r}, and {address} of {member.host.id} is at "
                f"{' and '.join(names) or 'no interface'}: charon drops what comes there; expected the "
                "interface of each address of this host left to charon"
            )


def _limited(member: Membership) -> Iterator[str]:
    """Say that charon would take fewer peers than there are: it drops the first packets of all others."""
    limit = ranges.number(str(member.fleet.settings.charon.get("ikesa_limit", 0)))
    if 0 < limit < len(member.connections):
        yield (
            f"ipsec:charon:ikesa_limit: found {limit}, and {member.host.id} has {len(member.connections)} "
            "connections; expected at least one IKE SA for each, and some more while they are made anew"
        )


def _partners(member: Membership) -> str:
    """Name the peers that have a CA of their own; empty for none."""
    return ", ".join(sorted(host.id for host in member.fleet.hosts if host.ca and host.id in member.peers))


def _unbound(member: Membership) -> Iterator[str]:
    """Say that ours run bound to no CA: that of a peer would vouch for them all until they are bound."""
    partners = _partners(member)
    there = present.connections() if partners else Configuration(ours=False)
    if there.ours and there.names and "rightca" not in there.defaults:
        yield (
            f"the connections that are set up here are bound to no CA, and the CA of {partners} could vouch "
            f"for each of them until they are; apply the pillar without {partners} first, with one "
            "self-signed CA in the fleet's CA file"
        )


def _strangers(wanted: Collection[int], by: str) -> list[ports.Holder]:
    """Return who else holds the ports: on a host that moves neither charon is a stranger."""
    found = ports.strangers(wanted, by)
    own = {*ports.strangers(wanted, backend.here())} if found and present.moves(by) else {*found}
    return [one for one in found if one in own]


def _open(member: Membership) -> Iterator[str]:
    """Say which connections of others would take whomever the CA of a peer of ours vouches for."""
    partners = _partners(member)
    if not partners or not is_kept(member):
        return
    there = (*kept.sections(_read(paths.here.kept_conf)), *look(member.connections).sections)
    if names := kept.unbound(there):
        yield (
            f"bound to no CA, of what 'existing: keep' keeps: {', '.join(names)}; whoever has a certificate "
            f"of the CA of {partners} could use it; expected 'rightca' in each of them"
        )


def told(member: Membership) -> list[str]:
    """Say what the next run makes of what is there of others."""
    choice, by = member.fleet.settings.existing, backend.chosen(member.backend)
    others = look(member.connections) if choice and by != SWANCTL else Others()
    if not others or (others.added and choice == KEEP):  # that goes on where it is
        return []
    fate = {KEEP: "goes on beside ours, in files of its own", REPLACE: "is kept aside, and its SAs end"}
    ends = "; charon starts anew for it, which ends its SAs for a moment" if choice == KEEP else ""
    return [f"what this host has of a strongSwan of others {fate[choice]}: {others}{ends}"]


def refuse(member: Membership) -> None:
    """Raise ConfigError with all that stands in the way."""
    found = obstacles(member)
    if found:
        raise ConfigError("; ".join(found))


def _moved(member: Membership, by: str) -> Iterator[str]:
    """Say what a host that is to run by another back end cannot take along, or has beside it."""
    runs = backend.here()
    if present.moves(by):
        if there := _theirs(member, runs):
            yield (
                f"ipsec:backend: found {by}, and {member.host.id} runs by {runs}, with what others "
                f"wrote there ({there}), which would not go along: take it away, "
                f"or write {runs} or auto for this host"
            )
    elif by == SWANCTL and runs != by and paths.here.starter.exists():
        yield f"ipsec:backend: found swanctl, and {paths.here.starter} is here; {_ONE_PACKAGE}"
    if by == SWANCTL and (second := sorted({*_STARTERS} & {*member.fleet.settings.packages})):
        yield (
            f"ipsec:packages: found {', '.join(second)}, and ipsec:backend swanctl; expected neither: a host "
            "has one IKE daemon"
        )
    if by == SWANCTL and not member.fleet.settings.vici:
        yield "ipsec:vici: found false, and ipsec:backend swanctl; expected true: its charon hears vici only"


_STARTERS = ("strongswan-starter", "strongswan-charon")
_ONE_PACKAGE = (
    "a host has one IKE daemon: purge packages strongswan-starter and strongswan-charon, then apply again"
)


def _theirs(member: Membership, runs: str) -> str:
    """Say what of others runs by the files of a back end; empty for nothing."""
    if runs == SWANCTL:
        return ", ".join(map(str, _swanctl_files()))
    return str(look(member.connections)) or ", ".join(sorted(present.kept()))


def _undecided_by_swanctl(member: Membership) -> Iterator[str]:
    """Say that others told swanctl of something: it goes on beside ours, or the operator takes it away."""
    there = [str(path) for path in (*_swanctl_files(), *_settings())]
    choice = member.fleet.settings.existing
    partners = _partners(member)
    if there and partners:
        yield (
            f"{', '.join(there)}: may take whomever the CA of {partners} vouches for; "
            "expected nothing of others beside backend swanctl and a peer with a CA of its own"
        )
    elif there and choice != KEEP:
        yield (
            f"this host has a strongSwan of its own ({', '.join(there)}); expected ipsec:existing: keep in "
            f"the pillar (it goes on beside ours), or these files taken away{_NOT_REPLACED if choice else ''}"
        )


_NOT_REPLACED = "; replace is for backend ipsec.conf"


def _swanctl_files() -> Iterator[Path]:
    """Yield the files of others that swanctl reads, and that no package has brought, or not like that."""
    top = paths.here.swanctl_d
    there = [path for path in sorted((top / "conf.d").glob("*.conf")) if path != paths.here.swanctl]
    yield from (path for path in there if str(path) in packages.strange([*map(str, there)]))
    if _TOLD.search(_read(top / "swanctl.conf")):  # the package's own has nothing but comments and an include
        yield top / "swanctl.conf"


_TOLD = re.compile(r"^\s*(connections|secrets|pools|authorities)\b", re.MULTILINE)


def _undecided(member: Membership) -> Iterator[str]:
    choice, others = member.fleet.settings.existing, look(member.connections)
    both = sorted(others.names & {one.name for one in member.connections})
    if not others.added and both and choice == KEEP:
        yield f"{paths.here.conf} has connections with names that ours have: {', '.join(both)}; rename them"
    if others and not choice:
        how = "was added to by hand" if others.added else "has a strongSwan of its own"
        yield (
            f"this host {how} ({others}); expected ipsec:existing in the pillar: keep (it goes on beside "
            "ours) or replace (it is kept aside, and ipsec.clean brings it back)"
        )


def look(connections: Iterable[Connection]) -> Others:
    """Return what is there of others; ``connections`` are those that ours are to be.

    By swanctl nothing of others is in the way: it stands in files of its own.
    """
    if backend.here() == SWANCTL:
        return Others()
    conf, secrets = _read(paths.here.conf), _read(paths.here.secrets)
    ours = record.found()
    if conf.startswith(render.HEADER) or (ours.record.connections and not ours.guessed):
        known = {one.name for one in (*connections, *ours.record.connections)}
        if ours.guessed:  # nobody can tell
            known |= parse.configuration(conf).names
        return Others(tuple(_by_hand(conf, known)), kept.secrets(secrets, ours=True), added=True)
    found = tuple(_inlined(kept.sections(conf), paths.here.conf.parent))
    return Others(found, tuple(_secrets_of(secrets)), _settings())


def _read(path: Path) -> str:
    return (files.read(path) or b"").decode("utf-8", "surrogateescape")


def _by_hand(conf: str, known: Collection[str]) -> Iterator[Section]:
    for one in _inlined(kept.sections(conf), paths.here.conf.parent):
        if one.kind == "ca" or (one.kind == "conn" and one.name not in {*known, "%default", kept.BASE}):
            yield one


def _inlined(found: Collection[Section], directory: Path, depth: int = 0) -> Iterator[Section]:
    """Yield sections, those of files that are included in their place; not of ours."""
    for one in found:
        if one.kind != "include":
            yield one
        elif one.name != render.INCLUDED and depth < _DEPTH:
            for path in sorted(glob.glob(str(directory / one.name))):  # noqa: PTH207  may be absolute
                text = _read(Path(path))
                yield from _inlined(kept.sections(text), Path(path).parent, depth + 1)


def _secrets_of(text: str, depth: int = 0) -> Iterator[str]:
    """Yield the lines of secrets, those of files that are included in their place."""
    for line in kept.secrets(text):
        words = line.split()
        if words[0] != "include" or len(words) == 1:
            yield line
        elif depth < _DEPTH:
            for path in sorted(glob.glob(str(paths.here.secrets.parent / words[1]))):  # noqa: PTH207
                yield from _secrets_of(_read(Path(path)), depth + 1)


def _settings() -> tuple[Path, ...]:
    found = sorted(paths.here.strongswan_d.rglob("*.conf")) if paths.here.strongswan_d.is_dir() else []
    there = [path for path in found if path != paths.here.strongswan]
    strange = packages.strange([str(path) for path in there])
    return tuple(path for path in there if str(path) in strange)


# What becomes of it --------------------------------------------------------------------------


def is_kept(member: Membership) -> bool:
    """Say whether files of ours include those of others: by the pillar, or else as it is."""
    choice = member.fleet.settings.existing
    if backend.chosen(member.backend) == SWANCTL:
        return False
    if choice:
        return choice == KEEP and bool(look(member.connections) or _aside())
    return render.INCLUDE in _read(paths.here.conf).splitlines()


def is_aside() -> bool:
    """Say whether connections of others, from before ours came, are kept aside."""
    return bool(kept.said(kept.sections(generations.original_texts()[0])))


def _aside() -> bool:
    return any(files.look(path) for path in (paths.here.kept_conf, paths.here.kept_secrets))


@contextlib.contextmanager
def settled(choice: str, connections: Iterable[Connection], by: str = IPSEC_CONF) -> Iterator[None]:
    """Put what is there of others where it belongs, while our files take its place or nothing happens."""
    undo = _settle(choice, Others() if by == SWANCTL else look(connections))
    try:
        yield
    except HostIPsecError:
        undo.restore()
        raise


def _settle(choice: str, others: Others) -> files.Undo:
    if not others or not choice:
        return files.Undo({})
    generations.keep_originals()
    again = others.added and files.look(paths.here.kept_conf) is not None
    before = generations.original_texts() if again or not others.added else ("", "")
    if others.added:
        generations.keep_added(kept.raw(others.sections), "".join(f"{one}\n" for one in others.secrets))
    if choice == REPLACE:
        return generations.set_aside(others.settings)
    added = generations.added()
    base = tuple(_inlined(kept.sections(before[0]), paths.here.conf.parent))
    lines = [*_secrets_of(before[1]), *kept.secrets(added[1])]
    texts = (kept.conf([*base, *kept.sections(added[0])]), "".join(f"{one}\n" for one in lines))
    conf, secrets = (text.encode("utf-8", "surrogateescape") for text in texts)
    return files.swap({paths.here.kept_conf: (conf, 0o644), paths.here.kept_secrets: (secrets, 0o600)})

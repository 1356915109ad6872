"""Which hosts a command means, and which connections: by site, by host, by state."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, Optional

from .. import arguments
from ..errors import HostIPsecError
from ..model import OFF, Fleet
from ..pillar import topology
from . import joined
from .fleetstatus import Filter
from .gone import NO_SITE, Gone
from .hostnames import few

KINDS = (
    *("glob", "list", "compound", "pcre", "grain", "grain_pcre", "nodegroup", "ipcidr", "range"),
    *("pillar", "pillar_pcre", "pillar_exact"),
)
NOBODY = "the pillar gives no host a peer; nothing was asked of any host"
_NOBODY: Mapping[str, str] = MappingProxyType({})
_NOBODY_GONE = Gone()
Group = Callable[[str], str]


def no_group(name: str) -> str:
    """Return nothing: there are no nodegroups."""
    return ""


class Meant(NamedTuple):
    """The hosts that a command means."""

    hosts: Sequence[str]
    unknown: Mapping[str, str] = _NOBODY  # others, and why nothing can be asked of them
    why: str = ""  # why the pillar does not tell; then `hosts` are all minions: those with a record count
    sites: Sequence[str] = ()  # with `why`: `hosts` are those that are there by their records
    former: Sequence[str] = ()  # others whose rules are off: they may have connections of before that edit
    gone: Gone = _NOBODY_GONE  # minions that no rule has
    fleet: Optional[Fleet] = None  # whose hosts are meant, where the pillar tells

    @property
    def lines(self) -> Sequence[str]:
        """Say that the pillar does not tell, and who is asked instead."""
        if not self.why:
            return ()
        said = f"the pillar does not say which hosts are meant: {self.why}"
        asked = (
            f"the {len(self.hosts)} accepted minions were asked, and count where connections are on record"
        )
        if self.sites:
            asked = f"hosts were asked where they are: at {', '.join(self.sites)} are {few(self.hosts)}"
        return (*said.splitlines(), f"so {asked}")

    def known(self, tgt: object) -> Sequence[str]:
        """Return the hosts where all that were meant are known. Raises HostIPsecError where not."""
        if self.why:
            raise HostIPsecError(self.why)
        if self.unknown:
            names = ", ".join(self.unknown)
            raise HostIPsecError(
                f"tgt={tgt}: no accepted minion is called {names}; nothing was asked of any host"
            )
        if not self.hosts:
            raise HostIPsecError(f"{NOBODY}; of hosts whose rules are off salt-run ipsec.plan tells")
        return self.hosts


def expression(tgt: object, kind: object) -> object:
    """Return a target as Salt reads it: text, or a list of names; a number is the name that it looks like."""
    arguments.one_of("tgt_type", kind, KINDS)
    if kind == "list" and isinstance(tgt, (list, tuple)):
        return [str(name) for name in tgt]
    if isinstance(tgt, bool) or not isinstance(tgt, (str, int)) or tgt == "":
        raise arguments.wrong("tgt", tgt, "a target in words of Salt, or a list of names with tgt_type=list")
    return str(tgt)


def listed(expression: object, kind: str, group: Group = no_group) -> Sequence[str]:
    """Return the names that a target gives one by one: in lists, a group's among them, and by themselves."""
    if kind in ("compound", "nodegroup"):
        text = group(str(expression)) if kind == "nodegroup" else str(expression)
        return [name for word in _words(text) for name in _of_word(word, group)]
    if kind != "list":
        return []
    return list(expression) if isinstance(expression, (list, tuple)) else arguments.listed("tgt", expression)


def _words(text: str) -> Sequence[str]:
    """Return the words of a compound target without those that join them."""
    words = (word.strip("()") for word in text.split())
    return [word for word in words if word not in ("", "and", "or", "not")]


def _of_word(word: str, group: Group) -> Iterator[str]:
    engine, at, rest = word.partition("@")
    if engine == "L" and at:
        yield from filter(None, rest.split(","))
    elif engine == "N" and at:  # Salt has put in what a group is of others
        yield from (name for one in _words(group(rest)) for name in _of_word(one, no_group))
    elif not (at or {*"*?["} & {*word}):
        yield word


def meant(
    expression: object, kind: str, found: Sequence[str], known: Sequence[str], group: Group = no_group
) -> Meant:
    """Return the hosts of a target: ``found`` are those that Salt finds, ``known`` all accepted minions.

    ``group`` returns the compound target that a nodegroup of the master stands for.
    """
    names = listed(expression, kind, group)
    missing = sorted({*map(str, names)} - {*known})
    return Meant(sorted({*found}), dict.fromkeys(missing, "no accepted minion has this name"))


def at_recorded(
    everybody: Meant, sites: Sequence[str], said: Mapping[str, str], unknown: Mapping[str, str]
) -> Meant:
    """Return the hosts at sites by what they ``said``, where the pillar does not tell.

    A site that no host is at is an error; of whom it is ``unknown`` nothing is done.
    """
    empty = [site for site in sites if site not in said.values()]
    if empty or not sites:
        there = f"site: found {', '.join(empty)!r}; by their records hosts are at: "
        there += ", ".join(sorted({*said.values()})) or "no site"
        lost = [f"of {few(sorted(unknown))} that is not known"] if unknown else []
        lines = [f"the pillar does not say which hosts are meant: {everybody.why}", there, *lost]
        raise HostIPsecError("\n".join([*lines, "nothing was done; a target of hosts needs no pillar"]))
    hosts = [host for host in sorted(said) if said[host] in sites]
    return Meant(hosts, unknown, everybody.why, sites)


def of_fleet(fleet: Fleet, site: object, others: Gone = _NOBODY_GONE) -> Meant:
    """Return the hosts of a pillar that have peers, or had some: by rules that are off, or that are no more.

    With a ``site``, or several, those that are there. ``others`` are all accepted minions, any of which may
    have left the pillar. No host at all is an error.
    """
    members = paired(fleet)
    hosts = members if site is None else at_sites(fleet, site)
    places = arguments.listed("site", site)
    elsewhere = {one.id for one in fleet.hosts if places and one.label("site", NO_SITE) not in places}
    former = [host for host in resting(fleet) if host not in elsewhere]
    gone = sorted({*others.hosts} - {*members} - {*former} - elsewhere)
    if not (hosts or former or gone):
        raise HostIPsecError(f"{NOBODY}; name hosts (tgt) to ask them")
    known = {host.id for host in fleet.hosts}
    others = others._replace(hosts=gone, known=known, places=places)
    return Meant(hosts, former=former, gone=others, fleet=fleet)


def beside(fleet: Fleet, others: Gone) -> Gone:
    """Return the minions that the pillar does not have."""
    return others._replace(hosts=sorted({*others.hosts} - {host.id for host in fleet.hosts}))


def resting(fleet: Fleet) -> list[str]:
    """Return the ids of the hosts that have no peers, as all rules that fit them are off."""
    if all(rule.stage != OFF for rule in fleet.rules):
        return []
    fitted = {host for pair in topology.fitting(fleet) for host in pair}
    return sorted((fitted & {*managed(fleet)}) - {*paired(fleet)})


def paired(fleet: Fleet) -> list[str]:
    """Return the ids of the hosts that have peers; in maintenance as well, they may have tunnels yet."""
    return sorted({host for pair in pairs(fleet) for host in pair} & {*managed(fleet)})


def serving(fleet: Fleet) -> list[str]:
    """Return the ids of the hosts that are not in maintenance."""
    return sorted(host.id for host in fleet.hosts if host.managed and not host.maintenance)


def managed(fleet: Fleet) -> list[str]:
    """Return the ids of the hosts that Salt manages: nobody else is asked."""
    return [host.id for host in fleet.hosts if host.managed]


def by_site(fleet: Fleet) -> Mapping[str, Sequence[str]]:
    """Return the hosts that have peers, by site."""
    members = {*paired(fleet)}
    found: dict[str, list[str]] = {}
    for host in fleet.hosts:
        if host.id in members:
            found.setdefault(host.label("site", NO_SITE), []).append(host.id)
    return found


def sites(fleet: Fleet, only: object) -> list[dict[str, object]]:
    """Return the sites and their hosts that have peers: ``only`` these in their order, or all sorted."""
    found = by_site(fleet)
    wanted = arguments.listed("only", only, sorted(found)) or sorted(found)
    return [{"name": name, "hosts": found[name]} for name in wanted]


def at_sites(fleet: Fleet, sites: object) -> list[str]:
    """Return the hosts that have peers, at one site or at each of several; no site at all is an error."""
    found = by_site(fleet)
    wanted = arguments.listed("site", sites, sorted(found))
    if not wanted:
        raise arguments.wrong("site", sites, ", ".join(sorted(found)))
    return sorted({host for site in wanted for host in found[site]})


def chosen(
    fleet: Fleet, site: Optional[str], host: Optional[str], state: Optional[str], within: object
) -> Filter:
    """Refuse what cannot fit, as no answer would look like a fleet at rest; return the filter."""
    places = {one.id: one.label("site") for one in fleet.hosts if "site" in one.labels}
    sites = sorted({*places.values()})
    allowed = {"site": sites, "host": sorted(one.id for one in fleet.hosts), "state": joined.STATES}
    for name, value in (("site", site), ("host", host), ("state", state)):
        if value is not None:
            arguments.one_of(name, value, allowed[name])
    there = pairs(fleet) if (site, host) != (None, None) else ()
    fits = (pair for pair in there if host in (None, *pair) and site in (None, *map(places.get, pair)))
    if there and next(fits, None) is None:
        said = ", ".join(f"{name}={value}" for name, value in (("site", site), ("host", host)) if value)
        raise HostIPsecError(f"{said}: no pair of hosts has that; nothing was asked of any host")
    return Filter(site, host, state, tuple(arguments.listed("within", within, sites)))


def pairs(fleet: Fleet) -> Sequence[tuple[str, str]]:
    """Return the pairs of hosts, also those of which one is in maintenance."""
    return list(topology.pairs(fleet, maintenance=True))

"""What ``state.apply ipsec`` would do to this host, by the code that does it. Changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from typing import Any, Optional

from ..answer import Answer, failed
from ..certificates import copies, partners, source, trust
from ..charon import daemon
from ..errors import HostIPsecError, PillarError, Problem
from ..fleet import fleetplan, planwords
from ..kernel import addresses, guard, routing
from ..model import REQUIRE, Fleet, Settings
from ..pillar import membership, topology
from ..store import generations, holdfile, present, record
from ..strongswan import defaults, sections, sequence
from ..strongswan.sections import Secret
from ..system import backend, platforms, tools
from ..system import sysctls as sysctls_of_kernel
from ..system.platforms import Platform
from ..system.sysctls import overruled
from . import able, configuration, existing


def whole(
    fleet: Optional[Fleet],
    grains: Mapping[str, Any],
    now: datetime,
    stage: str,
    installed: Callable[[], Collection[str]],
) -> fleetplan.HostPlan:
    """Return the same with sysctls and packages: who is to serve is asked which it has ``installed``."""
    found = look(fleet, grains["id"], now, stage)
    if fleet is not None and found["standing"] in fleetplan.SERVING:
        found["changes"].update(system(fleet, grains, installed()))
    return found


def look(fleet: Optional[Fleet], minion_id: str, now: datetime, limit: str = REQUIRE) -> fleetplan.HostPlan:
    """Return what the fleet's pillar would change on a host; see :func:`fleetplan.answer`.

    ``fleet`` is None on a host whose pillar does not have it; ``limit`` is the stage that a roll-out has come
    to. Raises HostIPsecError for what would make the state fail: a certificate, a charon that hangs.
    """
    there = present.names()
    host = fleet.host(minion_id) if fleet else None
    if host and host.lost:
        raise PillarError(host.lost)
    if fleet and host and (wrong := unknown_sysctls(fleet.settings)):
        raise PillarError(wrong)
    connections = topology.connections(fleet, minion_id) if fleet else ()
    if fleet is None or host is None or not connections:
        resting = fleetplan.RESTS if host and host.maintenance else ""
        standing = resting or (fleetplan.LEAVES if there else fleetplan.OUTSIDE)
        return fleetplan.answer(standing, (), _recorded().only(there).connections, {}, configured=len(there))
    recorded = _recorded()
    every = membership.Membership(fleet, host, connections, topology.barred(fleet, minion_id))
    if unpaired := every.unpaired(recorded.guarded):
        raise PillarError(unpaired)
    member = every.limited(limit, recorded.guarded)
    inspection = source.inspect_member(member, now)
    warnings, changes, unable = _changes(member, inspection, now)
    standing = fleetplan.MEMBER if there else fleetplan.ENTERS
    former = recorded.only(there).connections
    found = fleetplan.answer(standing, member.connections, former, changes, warnings, len(there))
    authentication = trust.planned(inspection.usable(), now)
    lacks = [] if tools.later() else sorted(map(str, absent(member)))
    return {**found, "absent": lacks, "unable": list(unable), "authentication": authentication}


def system(
    fleet: Fleet, grains: Mapping[str, Any], installed: Collection[str]
) -> dict[str, Mapping[str, object]]:
    """Return the sysctls and packages that differ, by the state that is to settle them.

    ``installed`` are the names of the packages that the host has.
    """
    settings, platform = fleet.settings, platform_of(fleet, grains)
    live = {key: sysctls_of_kernel.live(key) or "" for key in sysctls(settings)}
    sysctl = {
        key: {"old": live[key], "new": value}
        for key, value in sysctls(settings).items()
        if live[key].split() != value.split()
    }
    names = sorted({*packages(settings, platform), *tools.PROGRAMS})
    missing = {name: {"old": None, "new": "installed"} for name in names if name not in installed}
    parts: dict[str, Mapping[str, object]] = {fleetplan.SYSCTL: sysctl, fleetplan.PACKAGES: missing}
    return {state: found for state, found in parts.items() if found}


def platform_of(fleet: Fleet, grains: Mapping[str, Any]) -> Platform:
    """Return the platform of this host, by what it runs by. Raises HostIPsecError."""
    host = fleet.host(grains["id"])
    asked = (host.backend if host else "") or fleet.settings.backend
    return platforms.of(grains, backend.chosen(asked))


def packages(settings: Settings, platform: Platform) -> list[str]:
    """Return the packages that a member has; nftables where what goes in the clear is to be counted."""
    counted = ("nftables",) if settings.metrics.clear_text else ()
    return sorted({*platform.packages, *settings.packages, *counted})


def sysctls(settings: Settings) -> dict[str, str]:
    """Return the sysctls that a member has, by name."""
    return {**defaults.SYSCTL, **settings.sysctl}


def unknown_sysctls(settings: Settings) -> tuple[Problem, ...]:
    """Return the sysctls of the pillar that the kernel of this host does not have."""
    return tuple(
        Problem(
            f"ipsec:sysctl:{key}",
            f"found {value}, and the kernel of this host has no {key}",
            "a name below /proc/sys/net, whose module is loaded and whose interface is there",
        )
        for key, value in settings.sysctl.items()
        if not sysctls_of_kernel.is_known(key)
    )


def exhausting(member: membership.Membership) -> tuple[str, ...]:
    """Say where sequence numbers can run out before a rekeying."""
    common = sections.common_options(member.fleet.settings)
    here = {one.options for one in member.connections if one.options}
    rules = {f"ipsec:rules:{index}": rule.options for index, rule in enumerate(member.fleet.rules)}
    own = {path: {**common, **dict(options)} for path, options in rules.items() if options in here}
    said = [sequence.warning(options, path) for path, options in own.items()]
    return tuple(filter(None, [sequence.warning(common), *said]))


def answer(fleet: Optional[Fleet], minion_id: str, found: fleetplan.HostPlan) -> tuple[Answer, int]:
    """Return a host's plan in the shape that all verbs answer in, and the exit status that says it, too."""
    if fleet is None:
        leaves = found["standing"] == fleetplan.LEAVES
        status = fleetplan.SOMETHING if leaves else fleetplan.NOTHING
        lines = [f"no pillar 'ipsec'; connections of ours that stand here: {found['configured']}"]
    else:
        here = fleetplan.join(fleet, {minion_id: found})
        status, lines = here.status, planwords.lines(here)
    own = {**found, "lines": lines}
    return Answer(True, lines[0], found["connections"], notes=found["warnings"], own=own), status


def refused(error: HostIPsecError) -> Answer:
    """Return the answer where there is no plan, in the same shape."""
    nothing = fleetplan.answer("", (), (), {}, [str(error)])
    return failed(error, {**nothing, "lines": str(error).splitlines()})


def wanted(
    member: membership.Membership, inspection: source.Inspection, held: frozenset[str] = frozenset()
) -> configuration.Wanted:
    """Return what a host shall run. The key's type is read at the source: test mode copied nothing yet."""
    identifier, settings = member.host.id, member.fleet.settings
    credentials = inspection.usable()
    certificate_name = copies.certificate_name(identifier, credentials.certificate)
    key = Secret(credentials.key.secrets_keyword, copies.key_name(identifier, credentials.certificate))
    named = (certificate_name, key, held, credentials.binding)
    place = record.Place(member.site, identifier, member.sites)
    kept = existing.look(member.connections).names if existing.is_kept(member) else None
    beside = (member.barred, member.resting, place, kept)
    bound = {
        host.id: partners.options(credentials.partners[host.ca])
        for host in member.fleet.hosts
        if host.ca in credentials.partners
    }
    rest = (credentials.expected, bound, backend.chosen(member.backend))
    want = configuration.wanted(member.connections, settings, *named, *beside, *rest)
    return able.limited(want, identifier)


def certificate(
    member: membership.Membership, inspection: source.Inspection, directory: str
) -> copies.Difference:
    """Return what has to change below a directory so that charon reads there what was inspected."""
    return copies.difference(inspection, destination(member, directory), generations.files_in_use())


def destination(member: membership.Membership, directory: str) -> copies.Destination:
    """Return where a host's copies are; what is there of the source itself is spared."""
    where = source.locate(member.fleet.settings.certificates, member.host.id)
    others = (host.ca for host in member.fleet.hosts)
    sources = (where.certificate, where.key, where.ca, *filter(None, [where.crl, *others]))
    return copies.Destination(directory, member.host.id, sources=sources)


def absent(member: membership.Membership) -> dict[str, str]:
    """Return the addresses that the pillar gives this host and that it does not have, and what to do."""
    cure = "correct it, or give the address to the host first"
    local = "local_" if member.host.local_ipv4 else ""
    keys = {4: f"{local}ipv4", 6: "ipv6"}
    return {
        str(one): f"ipsec:hosts:{member.host.id}:{keys[one.version]}: found {one}; {why}; {cure}"
        for one, why in addresses.absent(one.left for one in member.connections).items()
    }


def _changes(
    member: membership.Membership, inspection: source.Inspection, now: datetime
) -> tuple[tuple[str, ...], Mapping[str, Mapping[str, object]], tuple[str, ...]]:
    """Return warnings, by state the changes that it reports in test mode, and what charon cannot do."""
    existing.refuse(member)
    held = frozenset(holdfile.known(member.connections, now))
    want = wanted(member, inspection, held)
    work = configuration.work(want, daemon.observe())
    copied = certificate(member, inspection, str(backend.top(backend.chosen(member.backend))))
    said, of_kernel = _kernel_changes(member)
    changes = {
        fleetplan.CONFIGURED: {} if work.empty else work.as_changes(),
        fleetplan.CERTIFICATES: copied.changes,
        **of_kernel,
    }
    later = overruled(sysctls(member.fleet.settings))
    told = (*inspection.warnings, *member.lost, *later, *exhausting(member), *existing.told(member))
    return (*told, *said), changes, want.left


def _kernel_changes(
    member: membership.Membership,
) -> tuple[tuple[str, ...], Mapping[str, Mapping[str, object]]]:
    """Return warnings and changes of what ``ip`` shows; where it is not there yet, only that."""
    if later := tools.later():
        return (later,), {}
    ways = routing.compare(member.connections, member.fleet.settings.mtu)
    changes: dict[str, Mapping[str, object]] = {
        fleetplan.GUARD: guard.changes(holdfile.free(member.guarded)),
        fleetplan.ROUTES: ways.difference.as_changes(),
    }
    return (*ways.wanted.errors, *ways.wanted.warnings), changes


def _recorded() -> record.Record:
    """Return what is on record here, or what ipsec.conf tells; the state writes a damaged record anew."""
    try:
        return record.read()
    except HostIPsecError:
        return record.Record()

"""
One host of the mesh, declared: what Salt's own states cannot do.

The SLS files in ``states/ipsec`` put these in order; see docs/states.md.
"""

import contextlib
import datetime
import pathlib

try:
    from hostipsec import arguments, calls, edition, paths, plane
    from hostipsec.answer import counted
    from hostipsec.apply import clean, configuration, copied, existing, hostplan, rollback, run, transition
    from hostipsec.certificates import copies
    from hostipsec.charon import daemon, vicicopy
    from hostipsec.emergency.host import Host
    from hostipsec.errors import HostIPsecError
    from hostipsec.kernel import capabilities, guard, routing
    from hostipsec.model import IPSEC_CONF, STAGES, SWANCTL
    from hostipsec.pillar import addressed
    from hostipsec.store import applied, generations, holdfile, present, record
    from hostipsec.strongswan import difference, sections
    from hostipsec.system import backend, diversion, libraries, platforms, tools
    from hostipsec.system import service as services

    HAS_ENGINE = True
except ImportError:
    HAS_ENGINE = False

__virtualname__ = "ipsec"


def __virtual__():
    if not HAS_ENGINE:
        return False, "package hostipsec is not on this host; run: salt-call saltutil.sync_all"
    return __virtualname__


def _result(name, changes, comment, warnings=()):
    """Return what a state returns: changes of the future in test mode, done ones otherwise."""
    result = (None if changes else True) if __opts__["test"] else True
    ret = {"name": name, "changes": changes, "result": result, "comment": comment}
    return {**ret, "warnings": list(warnings)} if warnings else ret


def _failed(name, error):
    """Return what a state that failed returns; the keeper's sample tells of it until one passes."""
    if not __opts__["test"]:
        applied.fails(f"{name}: {error}")
    return {"name": name, "changes": {}, "result": False, "comment": str(error)}


def _reading():
    """Return this run's reading of pillar and certificates: see ``hostipsec.apply.run``."""
    return run.of(
        __context__,
        __pillar__.get("ipsec"),
        __grains__["id"],
        _calls()["mine.get"],
        addressed.masters(__opts__),
    )


def _member():
    """Return the membership of this host; in a roll-out as far as it has come."""
    member, limit = _reading().member, _step("stage")
    if limit:
        arguments.one_of("ipsec_rollout:stage", limit, STAGES[1:])
    return member.limited(limit, record.read().guarded) if limit else member


def _step(key):
    """Return what the runner said of this step of a roll-out; empty where there is none."""
    return str((__pillar__.get("ipsec_rollout") or {}).get(key, ""))


def _same_pillar():
    """Refuse a pillar that is another than this host had as the roll-out began, if it is one."""
    told = ((__pillar__.get("ipsec_rollout") or {}).get("pillars") or {}).get(__grains__["id"])
    if told and told != _reading().digest:
        raise HostIPsecError(
            "the pillar is another than at the start of this roll-out: see salt-run ipsec.plan"
        )


def checked(name):
    """
    The pillar is valid, and this host's certificate, key and CA are what its peers expect.

    Fails with every problem at once. A host without peers passes with a sentence that says
    why; if it still has a configuration of ours, it fails, since nothing but a decision
    of the operator (state ``ipsec.clean``) replaces connections by none.

    .. code-block:: yaml

        ipsec-check-input:
          ipsec.checked: []

    ``changes`` is always empty.
    """
    found = run.check(_reading(), __grains__)
    if not found.ok:
        return _failed(name, "Nothing was changed.\n" + "\n".join(f"- {line}" for line in found.problems))
    try:
        member = _member()
        _same_pillar()
    except HostIPsecError as error:
        return _failed(name, f"Nothing was changed.\n- {error}")
    lonely = found.own["lonely"]
    if not lonely:
        return _result(name, {}, found.sentence, found.notes)
    configured_ = present.names()
    if configured_ and not member.host.maintenance:
        return _failed(
            name,
            f"{lonely}, but {counted(len(configured_))} of ours stand in ipsec.conf and stay: "
            "correct the pillar, or apply state ipsec.clean to remove them.",
        )
    kept = f"; its {counted(len(configured_))} stay configured" if configured_ else "; nothing is set up here"
    return _result(name, {}, lonely + kept)


def diverted(name, to):
    """
    A package's file is put out of the way (``dpkg-divert --local --rename``), also before it is installed.

    name
        path of the file
    to
        path that it goes to

    .. code-block:: yaml

        /etc/init.d/ipsec:
          ipsec.diverted:
            - to: /etc/init.d/ipsec-disabled

    ``changes`` holds ``{path: what happened to it}``.
    """
    try:
        change = diversion.difference(name, to)
        if change is None:
            return _result(name, {}, "is diverted")
        if not __opts__["test"]:
            diversion.divert(name, to)
    except HostIPsecError as error:
        return _failed(name, error)
    return _result(name, {name: change}, change)


def certificate_reused(name):
    """
    The host's certificate, key, CAs and CRLs are copied to where charon may read them, after all checks.

    The source is ``certificates`` of the pillar. The key is 0600 in a directory 0700; nothing of it
    is ever part of changes, comments or logs. A renewed certificate or key goes into a file
    of another name; the one before goes once no configuration names it. Where the charon that runs does not
    load the CAs, all is as it was; a CRL that it has not is a warning.

    name
        the directory below which charon reads, ``/etc/ipsec.d``

    .. code-block:: yaml

        /etc/ipsec.d:
          ipsec.certificate_reused: []

    ``changes`` holds ``{path: what is new in words}``.
    """
    try:
        member, inspection = _member(), _reading().inspection
        credentials, difference = inspection.usable(), hostplan.certificate(member, inspection, name)
        host = Host(by=backend.chosen(member.backend))
        unserved = () if __opts__["test"] else copied.apply(difference, credentials.expected, host)
    except HostIPsecError as error:
        return _failed(name, error)
    comment = f"{credentials.key.type} certificate, valid for {credentials.days_left} more days"
    return _result(name, dict(difference.changes), comment, (*inspection.warnings, *unserved))


def remembered(name, packages, sysctls):
    """
    What the host was before is kept: its packages, and the values of the sysctls to be set.

    State ``ipsec.cleaned`` brings that back. What is kept once stays; of a host that has connections of ours
    already, nothing is kept.

    packages
        names of the packages that are to be installed
    sysctls
        names of the sysctls that are to be set

    .. code-block:: yaml

        ipsec-install-remembered:
          ipsec.remembered:
            - packages: [strongswan-starter]
            - sysctls: [net.core.xfrm_larval_drop]

    ``changes`` holds ``{path: what is new in words}``.
    """
    try:
        if not generations.lacks_before(packages, sysctls):
            return _result(name, {}, "is kept")
        if not __opts__["test"]:
            generations.keep_before(packages, sysctls, daemon.has_vici())
    except HostIPsecError as error:
        return _failed(name, error)
    return _result(name, {str(paths.here.before): "kept"}, "what the host was before this package")


def cleaned(name):
    """
    Nothing of this package is left on the host: tunnels end first, proven in charon and the kernel.

    Needs no pillar. Packages are purged where state ``ipsec`` installed them and no other package needs them;
    else strongSwan stays, stopped, disabled and without connections of ours. Files that stood there before
    come back. Where a tunnel does not end, nothing else is removed.

    .. code-block:: yaml

        ipsec-clean-host:
          ipsec.cleaned: []

    ``changes`` holds ``{what: what becomes of it}``.
    """
    done = {}
    try:
        platform = platforms.of(__grains__, backend.here())
        host = clean.Minion(__grains__["id"], platform.service, _purge, daemon.has_vici, _remove_vici)
        found = clean.traces(host)
        if not found.parts:
            return _result(name, {}, "nothing of this package is here")
        if not __opts__["test"]:
            for part in found.remove():
                done.update(part)
    except HostIPsecError as error:
        return {**_failed(name, error), "changes": done}
    return _result(name, found.changes, f"{len(found.changes)} things of this package", found.warnings)


def _purge(packages):
    _salt("pkg.purge", pkgs=list(packages))


def _remove_vici():
    _salt("pip.uninstall", pkgs=["vici"])


def _salt(function, *arguments, **named):
    """Call a function of Salt's own; what it raises becomes a sentence, where Salt would show a traceback."""
    return _calls()[function](*arguments, **named)


def _calls():
    return calls.Calls(__salt__)


def vici_present(name):
    """
    strongSwan's Python library is importable by Salt's own Python.

    Installs it with pip (``pip.install``). Where that fails, the host works without: by stroke, whose
    output is text; the state passes with a warning that says so.

    name
        requirement for pip, ``vici>=5.9,<7``

    ``changes`` holds ``{"vici": "installed"}``.
    """
    if daemon.has_vici():
        return _result(name, {}, "is importable")
    if __opts__["test"]:
        return _result(name, {"vici": "installed"}, "would be installed for Salt's Python")
    try:
        done = _salt("pip.install", pkgs=[name])  # a text would be split at its commas
    except HostIPsecError as error:
        done = {"stderr": str(error)}
    if daemon.has_vici():
        return _result(name, {"vici": "installed"}, "installed for Salt's Python")
    said = (done.get("stderr") or done.get("stdout") or "").strip().splitlines()
    why = said[-1] if said else f"pip ended with status {done.get('retcode')}"
    return _result(name, {}, "not there; charon is asked by stroke", [f"{name} cannot be installed: {why}"])


def engine_shared(name):
    """
    The engine, as this run of Salt has it, is also where the system's Python finds it.

    ``ipsec-global``, the keeper and the guard run with the system's Python, with no Salt process alive. The
    files come from the modules that were synced to this host: nothing is asked of the master.

    name
        the directory of the package, ``/usr/local/lib/hostipsec/hostipsec``

    .. code-block:: yaml

        /usr/local/lib/hostipsec/hostipsec:
          ipsec.engine_shared: []

    ``changes`` holds ``{path: what is new in words}``.
    """
    directory, library = pathlib.Path(name), edition.sources()
    try:
        changes = libraries.difference(directory, library)
        if changes and not __opts__["test"]:
            libraries.copy(directory, library)
    except HostIPsecError as error:
        return _failed(name, error)
    return _result(name, changes, f"edition {edition.EDITION}")


def vici_shared(name):
    """
    strongSwan's Python library, as Salt's own Python has it, is also where the system's Python finds it.

    ``ipsec-global`` and the keeper run with the system's Python, with no Salt process alive. Where Salt's
    Python has no such library, they ask charon by stroke; the state passes with a warning that says so.

    name
        the directory of the library, ``/usr/local/lib/hostipsec/vici``

    .. code-block:: yaml

        /usr/local/lib/hostipsec/vici:
          ipsec.vici_shared: []

    ``changes`` holds ``{path: what is new in words}``.
    """
    directory = pathlib.Path(name)
    try:
        library = vicicopy.library()
        changes = libraries.difference(directory, library) if library else {}
        if __opts__["test"]:
            later = {} if daemon.has_vici() else {name: "new, once Salt's Python has the library"}
            return _result(name, later or changes, "the library of Salt's Python")
        if not daemon.has_vici():
            return _result(name, {}, "Salt's Python has no library to copy", [_BY_STROKE])
        if changes:
            libraries.copy(directory, library)
    except HostIPsecError as error:
        return _failed(name, error)
    return _result(name, changes, "the library of Salt's Python")


_BY_STROKE = "ipsec-global works by stroke: a tunnel that does not end costs charon its life then"


def configured(name):
    """
    charon runs with exactly the connections of the pillar.

    Compares ipsec.conf, ipsec.secrets, strongswan.conf and what charon has loaded with what the pillar means;
    a difference is tried by starter's parser and by a charon of its own before the files are swapped, and
    the last good configuration comes back if charon does not take it. Only connections that differ
    are touched; the service is started, or restarted where a setting is read at start only, through
    the service manager.

    name
        the service, as ``strongswan-starter``

    .. code-block:: yaml

        strongswan-starter:
          ipsec.configured: []

    ``changes`` holds ``connections`` with ``added``, ``removed`` and ``changed`` (option by option, old and
    new), settings that differ, and what happens to ``charon``.
    """
    return _configured(name, rollback.keeping, transition.Outcome())


def _configured(name, keeping, before):
    """Settle it; ``keeping`` is given what shall run, a mark and the time, and keeps what ran before.

    ``before`` is what was done until a hold was taken or lifted meanwhile: then what that wants is settled.
    """
    test = __opts__["test"]
    try:
        member = _member()
        held = holdfile.known(member.connections, _now())
        want = hostplan.wanted(member, _reading().inspection, frozenset(held))
        host = Host(lambda: _restart(name), want.configuration.backend, _calls().install)
        if not test:
            generations.sweep()
            host.settle()
        work = configuration.work(want, host.observe_if_running())
        if test and not work.empty:
            return _result(name, work.as_changes(), _would(work.difference) + _beside(held, want))
        done = transition.Outcome()
        if not work.empty:
            kept = keeping(want, _step("mark"), _now()) if work.new_files else contextlib.nullcontext()
            choice, by = member.fleet.settings.existing, want.configuration.backend
            with kept, existing.settled(choice, member.connections, by):
                done = transition.apply(want, work, host)
    except HostIPsecError as error:
        if before.changes:
            _refresh_pillar()
        return {**_failed(name, error), "changes": dict(before.changes)}
    outcome = before.then(done)
    if outcome.overtaken:
        return _configured(name, lambda *_: contextlib.nullcontext(), outcome)  # that is kept already
    if not test:
        applied.passes()
    if outcome.changes:
        _refresh_pillar()
    warnings = (*outcome.warnings, *(_prune(member) if outcome.changes else ()))
    comment = (
        f"charon runs with exactly {counted(len(want.names))}{_done(outcome, work)}{_beside(held, want)}"
    )
    return _result(name, dict(outcome.changes), comment, warnings)


def _done(outcome, work):
    """Say what was done, and what is to come."""
    done = f"; {', '.join(outcome.done)}" if outcome.done else ""
    if work.later and not work.empty:
        done += f"; {counted(len(work.later))} changed for the next authentication (ipsec.reauthenticate)"
    return done


def _refresh_pillar():
    """Have functions of this minion go by the pillar that was applied: in memory is an older one."""
    if __opts__.get("file_client") != "local":  # without a master nobody keeps one
        with contextlib.suppress(HostIPsecError):  # then it is as old as it was, and status says so
            _salt("saltutil.refresh_pillar")


def _now():
    return datetime.datetime.now(datetime.timezone.utc)


def _beside(held, want):
    """Say which connections a hold keeps down, which charon does not get, and what it cannot do."""
    said = "; and ".join(sorted({*held.values()}))
    kept = f"; {counted(len(held))} held {said}" if held else ""
    return f"{kept}; this charon cannot do {', '.join(want.left)}" if want.left else kept


def _prune(member):
    """Remove certificates and keys of before; what cannot be removed is a warning."""
    try:
        for by in (IPSEC_CONF, SWANCTL):
            copies.prune(hostplan.destination(member, str(backend.top(by))), generations.files_in_use(by))
    except HostIPsecError as error:
        return [f"files of a certificate of before stay: {error}"]
    return []


def _restart(service):
    """Start or restart the service through the service manager."""
    act = "restart" if _salt("service.status", service) else "start"
    if not _salt(f"service.{act}", service):
        raise HostIPsecError(f"service {service} cannot be {act}ed; see: {services.log(service)}")


def _would(differs):
    """Say in a sentence what would become of connections."""
    removed = {*differs.removed} - {*differs.aside}
    counts = [("added", differs.added), ("removed", removed), ("changed", differs.changed)]
    counts.append(("of others kept aside", differs.aside))
    said = ", ".join(f"{len(names)} {verb}" for verb, names in counts if names)
    moves = f"; {difference.MOVES}" if differs.backend else ""
    return f"connections: {said or 'none added, removed or changed'}{moves}"


def esp_available(name):
    """
    Whoever shall do ESP can: the kernel has ESP, for each family and with each algorithm of option ``esp``.

    And the host has the addresses that the pillar gives it, which cannot be told before iproute2 is there.
    Asked by adding an SA of each kind in a network namespace of its own, which leaves nothing behind but
    loaded modules. Where the pillar has charon do ESP itself (kernel-libipsec), nothing is asked.

    .. code-block:: yaml

        ipsec-check-esp:
          ipsec.esp_available: []

    ``changes`` is always empty; the comment names the modules that are missing.
    """
    try:
        member = _member()
        settings, later = member.fleet.settings, tools.later()
        if later and __opts__["test"]:
            return _result(name, {}, later)
        if lacks := _reading().absent:
            return _failed(
                name, "Nothing was configured.\n" + "\n".join(f"- {line}" for line in lacks.values())
            )
        if plane.chosen(settings) == plane.CHARON:
            return _result(name, {}, "charon does ESP itself (kernel-libipsec)")
        families = sorted({connection.family for connection in member.connections})
        every = sections.esp_of(member.connections, settings)
        missing = dict.fromkeys(line for esp in every for line in capabilities.missing(esp, families))
    except HostIPsecError as error:
        return _failed(name, f"Nothing was changed.\n- {error}")
    if missing:
        return _failed(name, "Nothing was changed.\n" + "\n".join(f"- {line}" for line in missing))
    where = ", ".join(f"IP{one}" for one in families)
    return _result(name, {}, f"the kernel has ESP with {' and '.join(every)} for {where}")


def routes_present(name):
    """
    Each peer has a host route with the MTU of the pillar (``mtu``), locked; no other host has one of ours.

    The way is the one that the kernel takes to the peer anyway. Without ``mtu`` there are no such routes. A
    reboot and a link that goes down take routes away: ``hostipsec-keeper`` brings them back.

    .. code-block:: yaml

        ipsec-routes-mtu:
          ipsec.routes_present: []

    ``changes`` holds ``added``, ``replaced`` (old and new) and ``deleted``, each by address.
    """
    try:
        member = _member()
        mtu, later = member.fleet.settings.mtu, tools.later()
        if later and __opts__["test"]:
            return _result(name, {}, later)
        found = routing.compare(member.connections, mtu)
        changes, wanted = found.difference.as_changes(), found.wanted
        if changes and not __opts__["test"]:
            routing.apply(member.connections, mtu)
    except HostIPsecError as error:
        return _failed(name, error)
    if wanted.errors:
        return {**_failed(name, "\n".join(wanted.errors)), "changes": changes}
    sizes = " and ".join(map(str, sorted({route.mtu for route in wanted.routes})))
    routes_ = f"{len(wanted.routes)} routes with mtu lock {sizes}" if sizes else "no MTU is locked"
    return _result(name, changes, routes_, wanted.warnings)


def guarded(name):
    """
    Between this host and each peer of stage ``require``, the kernel drops what is in the clear.

    Its policies are below charon's and stay when charon goes: nothing leaks while it is stopped, killed or
    started anew. No other peer has such policies. What a rule leaves in the clear (``clear``) passes, at any
    stage. ``hostipsec-guard.service`` sets them at boot, before the network is up; the keeper brings them
    back.

    .. code-block:: yaml

        ipsec-guard-policies:
          ipsec.guarded: []

    ``changes`` holds ``added`` and ``removed``, each a list of selectors.
    """
    try:
        guarded_, later = _member().guarded, tools.later()
        if later and __opts__["test"]:
            return _result(name, {}, later)
        free = holdfile.free(guarded_)
        changes = guard.changes(free)
        if changes and not __opts__["test"]:
            guard.apply(holdfile.free(guarded_))
    except HostIPsecError as error:
        return _failed(name, error)
    return _result(name, changes, guard.said(guarded_, free))

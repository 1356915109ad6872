"""
IPsec of the whole fleet, from the master: both ends of every pair, down, up, and proof.

Asks the hosts' own module ``ipsec``. By default all hosts of the pillar are meant. One line is printed for
each host as it answers (not with ``--out``), then a summary, then trouble in full. The exit status is 0 only
if the whole target answered and is as asked; 1 where not; 2 where nothing was asked of any host; 3 where
``plan`` found something to do; 130 where it was interrupted by Ctrl-C.
"""

import contextlib
import datetime
import re
import signal
import threading
import time

import salt.client
import salt.exceptions
import salt.utils.minions
import salt.utils.user

try:
    from hostipsec.edition import EDITION
    from hostipsec.errors import HostIPsecError
    from hostipsec.fleet import batches, fleetplan, fleetrollout, joined, planwords
    from hostipsec.fleet.ends import because
    from hostipsec.model import STAGES
    from hostipsec.pillar import addresses, pillar, topology

    HAS_ENGINE = True
except ImportError:
    HAS_ENGINE = False

__virtualname__ = "ipsec"

TELL_EDITION = ("ipsec.status", "ipsec.down", "ipsec.up")
OUTPUTTER = "ipsec"  # _output/ipsec.py
TIMEOUT = 15  # seconds
JITTER = 2  # seconds
# arguments that hosts with older modules refuse, and can do without
NEWER = {
    "ipsec.status": frozenset({"stage"}),
    "ipsec.down": frozenset({"asked"}),
    "ipsec.up": frozenset({"asked", "jitter"}),
}
INTERRUPTED = 130
POLL = 0.02  # seconds between two looks for answers


def __virtual__():
    if not HAS_ENGINE:
        return False, "package hostipsec is not on this master; run: salt-run saltutil.sync_all"
    return __virtualname__


def status(
    *more,
    site=None,
    host=None,
    state=None,
    within=None,
    wait=0,
    threshold=0,
    brief=False,
    timeout=TIMEOUT,
    **kwargs,
):
    """
    The mesh, as both ends of every pair see it. Changes nothing.

    site
        only pairs with an end at this site
    host
        only pairs with this minion id
    state
        only connections in this state: ``up``, ``down``, ``ends disagree``, ``held``, ``maintenance``,
        ``one-way``, ``duplicate``, ``not answering``
    within
        only pairs with both ends at these sites, a list
    wait
        ask again for so many seconds while something is not well
    threshold
        the exit status is 0 as well where no more than so many hosts, with all their connections, explain all
        that is not well
    brief
        return ``lines`` and ``retcode`` only, as an orchestration prints all that it gets
    timeout
        seconds to wait for a host that says nothing

    Returns a dictionary:

    ``connections``
        a list of dictionaries: ``one`` and ``other`` (minion ids, the initiator first), ``family``,
        ``stage``, ``state``, ``severity`` (``ok``, ``warning`` or ``critical``: the worse of both ends', or
        more), ``reason``, ``sites``, ``ok``
    ``counts``
        connections by state
    ``certificates``
        by host, days until its certificate expires
    ``silent``
        hosts that did not answer
    ``failed``
        by host, what it said instead of a status
    ``editions``
        by host, the edition of hostipsec there where it is not this master's
    ``lines``
        the same for people
    ``retcode``
        0 where all is well

    CLI Example:

    .. code-block:: bash

        salt-run ipsec.status
        salt-run ipsec.status site=esams state='ends disagree' --out=json
    """
    try:
        _no_more(more, kwargs)
        seconds, limit = _seconds("wait", wait), _whole("threshold", threshold)
        brief = _switch("brief", brief)
        timeout = _seconds("timeout", timeout)
        fleet = _fleet()
        sites = _listed("within", within)
        _known(fleet, site, host, state, sites)
    except HostIPsecError as error:
        return _refused(error)
    wanted = sorted(one.id for one in fleet.hosts if not one.maintenance)
    end = time.monotonic() + seconds
    while True:
        found = _ask(wanted, "ipsec.status", {}, timeout, _status_line)
        view = _joined(fleet, found["answers"])
        shown = view.only(site, host, state, sites)
        lost = [*found["silent"], *found["failed"]]
        bad = {name for name, _ in joined.culprits(shown.trouble)} | ({*lost} if view == shown else set())
        if found["interrupted"] or not (bad or shown.stray) or time.monotonic() >= end:
            break
        time.sleep(min(1.0, max(0.0, end - time.monotonic())))
    ends = {name: said["certificate"] for name, said in found["answers"].items() if said.get("certificate")}
    soon = [f"{name}: {one['sentence']}" for name, one in sorted(ends.items()) if one["severity"] != "ok"]
    ok = len(bad) <= limit if limit else not bad and not shown.stray and not soon
    result = {
        "connections": [
            {
                "one": row.one,
                "other": row.other,
                "family": row.family,
                "stage": row.stage,
                "state": row.state,
                "severity": row.severity,
                "reason": row.reason,
                "sites": list(row.sites),
                "ok": row.ok,
            }
            for row in shown.rows
        ],
        "counts": dict(shown.counts),
        "certificates": {name: one["days_left"] for name, one in sorted(ends.items())},
        "silent": found["silent"],
        "failed": found["failed"],
        "editions": found["editions"],
        **_said([*shown.lines(), *_first_end(ends), *soon, *_lost(found)], ok, found["interrupted"]),
    }
    return _brief(result, brief)


def _joined(fleet, answers):
    return joined.join(
        fleet,
        {name: {**said["connections"]} for name, said in answers.items()},
        {name: sorted(said["unmanaged"]) for name, said in answers.items()},
    )


def _first_end(ends):
    """Say which host's certificate expires first."""
    if not ends:
        return []
    days, host = min((one["days_left"], host) for host, one in ends.items())
    return [f"certificates: the first expires in {days} days, that of {host}"]


def down(
    tgt=None,
    *more,
    reason="",
    deadline=10,
    hold=True,
    batch=0,
    dry_run=False,
    tgt_type="glob",
    timeout=TIMEOUT,
    site=None,
    threshold=0,
    asked=None,
    brief=False,
    **kwargs,
):
    """
    Emergency: end every connection of the fleet, prove it on each host, and keep it so.

    Traffic goes in the clear then.

    tgt
        which hosts; by default every host of the pillar that has peers. With a target the pillar is not read,
        so that it works with a broken one, too
    reason
        why, for every status and whoever logs in
    deadline
        seconds for each host
    hold
        ``False``: peers may bring the connections back at once
    batch
        so many hosts at a time; 0 for all at once
    dry_run
        only say what would be ended
    tgt_type
        how Salt reads ``tgt``
    timeout
        seconds to wait for a host that says nothing
    site
        instead of ``tgt``, the pillar's hosts at this site, or at each of a list of sites
    threshold
        the exit status is 0 as well where so many hosts, and no more, are not as asked
    asked
        when this was decided, seconds since 1970; by default now. Of two commands that are given to the fleet
        at the same time each host obeys the later one, in whatever order they reach it
    brief
        return ``lines`` and ``retcode`` only, as an orchestration prints all that it gets

    Returns a dictionary:

    ``hosts``
        by minion id what :py:func:`ipsec.down <salt.modules.ipsec.down>` returned there; with ``dry_run``
        what :py:func:`ipsec.status <salt.modules.ipsec.status>` did
    ``silent``
        hosts that did not answer: what runs there is not known
    ``failed``
        by host, what it said instead
    ``unanswered``, ``unasked``
        after Ctrl-C: hosts that were asked, and finish what they have begun; hosts that were not
    ``editions``
        by host, the edition of hostipsec there where it is not this master's
    ``lines``, ``retcode``
        the same for people; 0 only where every host of the target is down, and proven

    CLI Example:

    .. code-block:: bash

        salt-run ipsec.down reason=T195365
        salt-run ipsec.down 'cp3*' reason=T195365 deadline=5
        salt-run ipsec.down dry_run=True
    """
    try:
        _no_more(more, kwargs)
        arguments = {
            "reason": str(reason),
            "deadline": _seconds("deadline", deadline, least=0.1),
            "hold": _switch("hold", hold),
            "who": _who(),
            "asked": _asked(asked),
        }
        hosts, timeout, limit = _targets(tgt, tgt_type, site, timeout, threshold)
        size, brief = _whole("batch", batch), _switch("brief", brief)
        if _switch("dry_run", dry_run):
            return _tried("down", hosts, timeout)
    except HostIPsecError as error:
        return _refused(error)
    found = _ask(hosts, "ipsec.down", arguments, timeout, _line, size)
    return _brief(_summed("down", hosts, found, limit), brief)


def up(
    tgt=None,
    *more,
    deadline=30,
    batch=20,
    dry_run=False,
    tgt_type="glob",
    timeout=TIMEOUT,
    site=None,
    threshold=0,
    jitter=JITTER,
    wait=True,
    asked=None,
    brief=False,
    **kwargs,
):
    """
    Lift the hold of :py:func:`down` on every host, and bring every connection up.

    tgt
        which hosts; by default every host of the pillar that has peers
    deadline
        seconds for each host until all of its connections are up
    batch
        so many hosts at a time are first told to start, so that a fleet does not negotiate at once; 0 for all
        at once
    dry_run
        only say what would be done
    tgt_type
        how Salt reads ``tgt``
    timeout
        seconds to wait for a host that says nothing
    site, threshold, asked, brief
        as for :py:func:`down`
    jitter
        each host of a batch starts at a time by chance within so many seconds
    wait
        ``False``: have hosts start, and do not wait for what comes up

    Every host lifts its hold and starts what it has (``wait=False``) before any is waited for: a peer that is
    still held would refuse, and hosts would wait for each other. A host that does not answer that is not
    asked again.

    Returns the same as :py:func:`down`, with what :py:func:`ipsec.up <salt.modules.ipsec.up>` returned. The
    ``reason`` of a connection that did not come up takes into account what its other end says.

    CLI Example:

    .. code-block:: bash

        salt-run ipsec.up
        salt-run ipsec.up 'cp3*' deadline=60
    """
    try:
        _no_more(more, kwargs)
        arguments = {
            "deadline": _seconds("deadline", deadline, least=0.1),
            "who": _who(),
            "asked": _asked(asked),
        }
        hosts, timeout, limit = _targets(tgt, tgt_type, site, timeout, threshold)
        size, spread = _whole("batch", batch), _seconds("jitter", jitter)
        if _switch("dry_run", dry_run):
            return _tried("up", hosts, timeout)
        waiting, brief = _switch("wait", wait), _switch("brief", brief)
    except HostIPsecError as error:
        return _refused(error)
    starting = {**arguments, "wait": False, "jitter": spread}
    told = _ask(hosts, "ipsec.up", starting, timeout, lambda one: "" if waiting else _line(one), size)
    if not waiting or told["interrupted"]:
        return _brief(_summed("start", hosts, told, limit), brief)
    found = _ask(
        [host for host in hosts if host not in told["silent"]], "ipsec.up", arguments, timeout, _line
    )
    found["silent"] = [host for host in hosts if host in {*found["silent"], *told["silent"]}]
    _know_better(found, timeout)
    return _brief(_summed("up", hosts, found, limit), brief)


def verify(
    tgt=None, *more, capture=False, rekey=False, tgt_type="glob", timeout=TIMEOUT, site=None, **kwargs
):
    """
    Prove on every host that what goes to its peers, and what comes back, goes in ESP.

    tgt
        which hosts; by default every host of the pillar that has peers
    capture, rekey
        as for :py:func:`ipsec.verify <salt.modules.ipsec.verify>`
    tgt_type
        how Salt reads ``tgt``
    timeout
        seconds to wait for a host that says nothing
    site
        as for :py:func:`down`

    Returns the same as :py:func:`down`, with what ``ipsec.verify`` returned.

    CLI Example:

    .. code-block:: bash

        salt-run ipsec.verify
        salt-run ipsec.verify 'cp3*' rekey=True
    """
    try:
        _no_more(more, kwargs)
        arguments = {"capture": _switch("capture", capture), "rekey": _switch("rekey", rekey)}
        hosts, timeout, limit = _targets(tgt, tgt_type, site, timeout, 0)
    except HostIPsecError as error:
        return _refused(error)
    return _summed("verify", hosts, _ask(hosts, "ipsec.verify", arguments, timeout, _line), limit)


def sites(only=None):
    """
    The sites of the pillar and their hosts that have peers, and the time: what an orchestration starts from.

    only
        these sites, in this order; by default all, sorted

    Returns a dictionary:

    ``sites``
        a list of dictionaries, ``name`` and ``hosts`` (minion ids)
    ``asked``
        the time, as ``asked`` of :py:func:`down` and :py:func:`up` takes it
    ``error``
        why there are none; empty where there are

    CLI Example:

    .. code-block:: bash

        salt-run ipsec.sites
    """
    try:
        by_site = _by_site()
        wanted = _listed("only", only) or sorted(by_site)
        _fits("only", wanted, sorted(by_site))
    except HostIPsecError as error:
        return {"sites": [], "asked": time.time(), "error": str(error)}
    found = [{"name": name, "hosts": by_site[name]} for name in wanted]
    return {"sites": found, "asked": time.time(), "error": ""}


def plan(tgt=None, tgt_type="glob", timeout=TIMEOUT):
    """
    What the pillar, as it is now, would change in the fleet. Changes nothing.

    Every accepted minion is asked, so that hosts are seen which have connections of ours and are no members
    any more. A pillar that is wrong is said with all its errors, and no host is asked.

    tgt
        only these hosts; ends of pairs beyond them are not known then
    tgt_type
        how Salt reads ``tgt``
    timeout
        seconds to wait for a host that says nothing

    Returns a dictionary:

    ``enter``, ``leave``
        hosts that have nothing of ours yet, and hosts that have and are no members; ``state.apply`` leaves
        those as they are
    ``added``, ``removed``, ``renamed``, ``changed``
        connections, each a dictionary: ``one`` and ``other`` (minion ids, the initiator first), ``family``,
        ``sites``, ``why`` (the rule, or why there is none), ``ends`` (hosts on which it changes), ``options``
        (by host and option, ``old`` and ``new``) and ``disagree``, why the ends would not agree afterwards
    ``restart``
        hosts on which charon is restarted, and why
    ``expect``
        number of assertions of the pillar; all hold, or the pillar would be wrong
    ``hosts``
        by minion id ``standing``, ``changes`` and ``warnings`` of
        :py:func:`ipsec.plan <salt.modules.ipsec.plan>` there
    ``silent``, ``failed``
        hosts that did not answer, and by host what it said instead; those only that have peers or had some
    ``lines``, ``retcode``
        the same for people; 0 where there is nothing to do, 3 where there is, 1 where a host did not answer
        or failed or ends would disagree, 2 where no host was asked

    CLI Example:

    .. code-block:: bash

        salt-run ipsec.plan
        salt-run ipsec.plan 'cp3*'
        salt-run ipsec.plan --out=json
    """
    try:
        fleet = _fleet()
        accepted = _some_accepted("*" if tgt is None else tgt, tgt_type)
    except HostIPsecError as error:
        return _refused(error)
    members = fleetplan.concerned(fleet, {}) if tgt is None else ()
    asked = _ask(sorted({*accepted, *members}), "ipsec.plan", {}, timeout, None)
    matter = fleetplan.concerned(fleet, asked["answers"]) if tgt is None else accepted
    asked["silent"] = [host for host in asked["silent"] if host in matter]
    asked["failed"] = {host: text for host, text in asked["failed"].items() if host in matter}
    found = fleetplan.join(fleet, asked["answers"], {*asked["silent"], *asked["failed"]})
    said = _said([*planwords.lines(found), *_lost(asked)], True, asked["interrupted"])
    status_ = said["retcode"] or found.status
    __context__["retcode"] = status_
    return {
        **found.as_dict(),
        "silent": asked["silent"],
        "failed": asked["failed"],
        **said,
        "retcode": status_,
    }


def rollout(
    tgt=None,
    *more,
    stage="",
    batch=0,
    by="site",
    deadline=60,
    dry_run=False,
    tgt_type="glob",
    timeout=TIMEOUT,
    **kwargs,
):
    """
    Apply state ``ipsec`` over the fleet in a safe order, and stop at the first thing that is wrong.

    Goes through the stages: first every pair is configured at both ends and started by none, then started,
    and where its rule requires IPsec that comes last, when both ends report the SA and ``ipsec.verify`` says
    encrypted. Within a stage one host goes first (the canary), then site by site; the end that answers
    before the end that starts. After each batch both ends of every pair of its hosts are asked.

    tgt
        which hosts; by default every host of the pillar that has peers
    stage
        go no further than this: ``passive``, ``start`` or ``require``; by default as far as the rules say
    batch
        so many hosts of a site at a time; 0 for all of a site
    by
        the label of hosts that makes a batch
    deadline
        seconds until the connections of a batch have to be up
    dry_run
        only say which hosts would be changed, in which order
    tgt_type
        how Salt reads ``tgt``
    timeout
        seconds to wait for a host that says nothing

    What is in trouble before, at pairs that are there already, is told and stops nothing; nor does what is
    held.

    Returns a dictionary:

    ``mark``
        of this roll-out, for :py:func:`rollback`
    ``changed``
        hosts that were changed, in their order
    ``stopped``
        what stopped it, a list of sentences; empty where it went through
    ``lines``, ``retcode``
        the same for people; 0 where everything is as the pillar says, or there was nothing to do

    CLI Example:

    .. code-block:: bash

        salt-run ipsec.rollout dry_run=True
        salt-run ipsec.rollout batch=4
        salt-run ipsec.rollout 'cp3*' stage=passive
    """
    try:
        _no_more(more, kwargs)
        hosts, timeout, _ = _targets(tgt, tgt_type, None, timeout, 0)
        fleet, size, deadline = _fleet(), _whole("batch", batch), _seconds("deadline", deadline)
        _fits("by", [by], {label for host in fleet.hosts for label in host.labels})
        _fits("stage", [stage] if stage else [], STAGES[1:])
        stages, dry_run = batches.stages(fleet, stage), _switch("dry_run", dry_run)
    except HostIPsecError as error:
        return _refused(error)
    hands = _Hands(timeout)
    rolling = fleetrollout.Rollout(fleet, hosts, by, size, deadline, hands)
    try:
        (rolling.foresee if dry_run else rolling.run)(stages)
    except (KeyboardInterrupt, SystemExit):  # Salt turns Ctrl-C into the latter
        hands.interrupted = True
    if hands.interrupted:
        rolling.stopped.append("interrupted; hosts that were told finish what they have begun")
    lines = [*rolling.said, *rolling.stopped, "nothing was changed"] if dry_run else rolling.lines()
    return {
        "mark": hands.mark,
        "changed": rolling.changed,
        "stopped": rolling.stopped,
        **_said(list(lines), not rolling.stopped, hands.interrupted),
    }


def reauthenticate(tgt=None, *more, lead=10, deadline=30, tgt_type="glob", timeout=TIMEOUT, **kwargs):
    """
    Authenticate every established connection anew, with the certificates and options of now.

    After a change of ciphers or certificates, tunnels go on with what they were made with. All hosts begin at
    one moment: each pair gets a new IKE SA beside the old one, which ends when the new one is up. Where the
    kernel does ESP and the configuration of the end that starts differs, no packet is lost. Needs clocks that
    agree to a second.

    tgt
        which hosts; by default every host of the pillar that has peers. A pair is done by the end that starts
        it
    lead
        seconds until the moment: more where hosts take longer to hear of it
    deadline
        seconds for the new IKE SAs from then on
    tgt_type
        how Salt reads ``tgt``
    timeout
        seconds to wait for a host that says nothing

    Returns the same as :py:func:`down`, with what
    :py:func:`ipsec.reauthenticate <salt.modules.ipsec.reauthenticate>` returned.

    CLI Example:

    .. code-block:: bash

        salt-run ipsec.reauthenticate
    """
    try:
        _no_more(more, kwargs)
        ahead, seconds = _seconds("lead", lead, most=600), _seconds("deadline", deadline, least=0.1)
        hosts, timeout, _ = _targets(tgt, tgt_type, None, timeout, 0)
    except HostIPsecError as error:
        return _refused(error)
    arguments = {"at": time.time() + ahead, "deadline": seconds}
    return _summed("reauthenticate", hosts, _ask(hosts, "ipsec.reauthenticate", arguments, timeout, _line), 0)


def rollback(tgt=None, *more, mark=None, dry_run=False, tgt_type="glob", timeout=TIMEOUT, **kwargs):
    """
    Bring back what hosts ran before their last change: by default what the last roll-out changed.

    The pillar stays as it is: take the change out there, or the next ``state.apply`` brings it again.

    tgt
        which hosts, whatever changed them last; by default all that the roll-out changed
    mark
        of the roll-out; by default the last one
    dry_run
        only say which hosts would go back, and to when
    tgt_type
        how Salt reads ``tgt``
    timeout
        seconds to wait for a host that says nothing

    Returns the same as :py:func:`down`, with what
    :py:func:`ipsec.rollback <salt.modules.ipsec.rollback>` returned.

    CLI Example:

    .. code-block:: bash

        salt-run ipsec.rollback dry_run=True
        salt-run ipsec.rollback
        salt-run ipsec.rollback 'cp3*'
    """
    try:
        _no_more(more, kwargs)
        seconds, dry_run = _seconds("timeout", timeout), _switch("dry_run", dry_run)
        accepted = _some_accepted("*" if tgt is None else tgt, tgt_type)
        found = _ask(accepted, "ipsec.previous", {}, seconds, None)
        marks = {host: said["mark"] for host, said in found["answers"].items() if said["mark"] is not None}
        if tgt is None or mark is not None:
            last = mark or max(marks.values(), default="")
            marks = {host: one for host, one in marks.items() if last and one == last}
        if not marks:
            raise HostIPsecError("nothing to go back from; name hosts (tgt) to undo their last state.apply")
    except HostIPsecError as error:
        return _refused(error)
    hosts = sorted(marks)
    if dry_run:
        known = found["answers"]
        lines = [
            f"{host}: would run {len(said['connections'])} connections, as before {said['when']}"
            for host, said in sorted(known.items())
            if host in marks
        ]
        return _result(found, [*lines, f"{len(hosts)} hosts, nothing was changed"], not found["silent"])
    asked = sorted({*hosts, *found["silent"]})
    return _summed("rollback", asked, _ask(asked, "ipsec.rollback", {}, seconds, _line), 0)


# The fleet -----------------------------------------------------------------------------------


def _fleet():
    """Return the fleet of the pillar, which is the same for all hosts: the first that has it will do."""
    data, minions = None, _accepted("*", "glob")
    for minion in minions:
        found = __salt__["pillar.show_pillar"](minion)
        if found.get("_errors"):
            raise HostIPsecError(f"the pillar of {minion}: {'; '.join(map(str, found['_errors']))}")
        data = found.get("ipsec")
        if data is not None:
            break
    if data is None:
        raise HostIPsecError(f"none of the {len(minions)} accepted minions has a pillar ipsec")
    return pillar.read(data, addresses.resolve(pillar.unaddressed(data), _mined))


def _accepted(tgt, tgt_type):
    """Return the ids of the accepted minions that a target means, sorted."""
    return sorted(salt.utils.minions.CkMinions(__opts__).check_minions(tgt, tgt_type)["minions"])


def _some_accepted(tgt, tgt_type):
    """Return them; a target that means none is an error."""
    found = _accepted(tgt, tgt_type)
    if not found:
        raise HostIPsecError(f"tgt={tgt}: no accepted minion fits; nothing was asked of any host")
    return found


def _mined(hosts):
    found = {}
    for function in ("network.ip_addrs", "network.ip_addrs6"):
        for host, addrs in (__salt__["mine.get"](",".join(hosts), function, "list") or {}).items():
            found.setdefault(host, []).extend(addrs or [])
    return found


def _known(fleet, site, host, state, within):
    """Refuse what a filter cannot fit: an empty answer would look like a fleet at rest."""
    sites = sorted({str(one.labels["site"]) for one in fleet.hosts if "site" in one.labels})
    allowed = {"site": sites, "host": sorted(one.id for one in fleet.hosts), "state": joined.STATES}
    for name, value in (("site", site), ("host", host), ("state", state)):
        _fits(name, [] if value is None else [value], allowed[name])
    _fits("within", within, sites)


def _fits(name, values, allowed):
    for value in values:
        if value not in allowed:
            raise HostIPsecError(f"{name}: found {value!r}; allowed: {', '.join(allowed)}")


def _members():
    """Return the ids of the hosts that have peers; in maintenance as well, they may have tunnels yet."""
    fleet = _fleet()
    return _paired(fleet)


def _paired(fleet):
    return sorted({host for pair in topology.pairs(fleet, maintenance=True) for host in pair})


def _by_site():
    """Return the hosts that have peers, by site."""
    fleet, found = _fleet(), {}
    members = {*_paired(fleet)}
    for host in fleet.hosts:
        if host.id in members:
            found.setdefault(str(host.labels.get("site", "no site")), []).append(host.id)
    return found


def _targets(tgt, tgt_type, site, timeout, threshold):
    """Return the hosts that are meant, how long to wait for them, and how many may fail."""
    seconds, limit = _seconds("timeout", timeout), _whole("threshold", threshold)
    if site is not None:
        if tgt is not None:
            raise HostIPsecError("tgt and site: one of them, not both; nothing was asked of any host")
        by_site = _by_site()
        wanted = _listed("site", site)
        _fits("site", wanted, sorted(by_site))
        return sorted(host for name in wanted for host in by_site[name]), seconds, limit
    return _members() if tgt is None else _some_accepted(tgt, tgt_type), seconds, limit


def _who():
    """Return who is at the keyboard; an orchestration does not say it to its runners."""
    user = salt.utils.user.get_specific_user() if __user__ == "UNKNOWN" else __user__
    return f"{user} (salt-run)"


# Asking --------------------------------------------------------------------------------------


def _tried(verb, hosts, timeout):
    """Say what would be done, and ask hosts for their status only."""
    found = _ask(hosts, "ipsec.status", {}, timeout, lambda one: "")
    lines = [f"{host}: {_would(verb, said)}" for host, said in sorted(found["answers"].items())]
    lines.append(f"{len(found['answers'])} hosts asked, nothing was changed")
    return _result(found, lines, not (found["silent"] or found["failed"]))


def _summed(verb, hosts, found, threshold):
    """Return the result of a command: how many hosts are as asked, and what is not, by host."""
    good = [host for host, said in found["answers"].items() if _good(said)]
    lines = []
    for host, said in sorted(found["answers"].items()):
        lines += [f"{host}: {text}" for text in _trouble(said, started=verb == "start")]
    heading = f"{len(good)} of {len(hosts)} hosts are as asked: {_DONE[verb]}"
    return _result(found, [heading, *joined.capped(lines)], len(hosts) - len(good) <= threshold)


def _know_better(found, timeout):
    """Have reasons take into account what the other ends say; those that were not asked are asked now."""
    lacking = [
        (host, row) for host, said in found["answers"].items() for row in said["connections"].values()
        if not row["up"]
    ]  # fmt: skip
    ends = {**found["answers"]}
    others = {row["peer"] for _, row in lacking} - {*ends} - {*found["silent"]}
    others &= {*_accepted("*", "glob")}
    if others and not found["interrupted"]:
        ends.update(_ask(sorted(others), "ipsec.status", {}, timeout, lambda one: "")["answers"])
    for host, row in lacking:
        end = ends.get(row["peer"])
        row["reason"] = because(host, row, end and end["connections"])


_DONE = {
    "down": "down, and proven",
    "up": "every connection up",
    "start": "told to start",
    "verify": "every connection encrypted both ways",
    "reauthenticate": "every connection that they start is reauthenticated",
    "rollback": "they run what they ran before; the pillar still asks for the change",
}


def _good(found):
    """Whether an answer of ``down``, ``up`` or ``verify`` says that all is as asked."""
    if "ok" in found:
        return bool(found["ok"])
    return not found["problems"] and all(row["ok"] for row in found["connections"].values())


def _line(found):
    return str(found.get("sentence") or found.get("summary") or "")


def _status_line(found):
    return str(found["summary"]["sentence"])


def _trouble(found, started=False):
    """Yield what is not as asked on a host, sentences."""
    if found.get("overruled"):
        yield found["overruled"]
        return
    yield from found.get("problems", ())
    if started:  # and nobody waited for what comes up
        return
    for name, row in sorted(found["connections"].items()):
        why = row.get("left") or ("" if row.get("up", row.get("ok", True)) else row.get("reason"))
        if why:
            yield f"{name}: {why}"


def _would(verb, found):
    rows, said = found["connections"], found["summary"]["sentence"]
    if verb == "down":
        there = sum(row["state"] not in ("down", "held") for row in rows.values())
        return f"{there} of {len(rows)} connections would be ended ({said})"
    missing = sum(row["state"] != "established" for row in rows.values())
    held = f", and lifted: held {found['held']}" if found["held"] else ""
    return f"{missing} of {len(rows)} connections would be brought up{held}"


def _ask(hosts, function, arguments, timeout, line, batch=0):
    """
    Ask hosts, so many at a time, and print a line for each that answers.

    Returns a dictionary: ``answers`` by host, what others said instead (``failed``), those without an
    answer (``silent``), ``editions`` that are not this master's; with Ctrl-C ``interrupted`` is true, and
    hosts are ``unanswered`` or ``unasked`` instead of silent.
    """
    found = {
        "answers": {},
        "failed": {},
        "silent": [],
        "editions": {},
        "interrupted": False,
        "unanswered": [],
        "unasked": [],
    }
    for start in range(0, len(hosts), batch or len(hosts) or 1):
        part = hosts[start : start + (batch or len(hosts))]
        if found["interrupted"]:
            found["unasked"] += part
            continue
        try:
            _collect(found, part, function, arguments, timeout, line)
        except (KeyboardInterrupt, SystemExit):  # Salt turns Ctrl-C into the latter
            found["interrupted"] = True
        except salt.exceptions.SaltException as error:
            said = " ".join(str(error).split())
            found["failed"].update(
                (host, f"not known, the master says: {said}") for host in _left(part, found)
            )
        found["unanswered" if found["interrupted"] else "silent"] += _left(part, found)
    return found


def _left(hosts, found):
    return [host for host in hosts if host not in found["answers"] and host not in found["failed"]]


def _collect(found, hosts, function, arguments, timeout, line):
    """
    Ask hosts of one batch; those with older modules once more, without what these do not know.

    ``line`` makes what is printed as a host answers; with None nothing is.
    """
    older = {}
    # for as long the silent are asked whether they are at it yet
    gather = min(timeout, __opts__["gather_job_timeout"])
    for host, value in _returns(hosts, function, timeout, kwarg=arguments, gather_job_timeout=gather):
        unknown = _unknown(value)
        if unknown and unknown <= NEWER.get(function, frozenset()) & {*arguments}:
            older.setdefault(unknown, []).append(host)
        elif isinstance(value, dict) and "connections" in value:
            found["answers"][host] = value
            edition = value.get("edition", "an older one")
            if edition != EDITION and function in TELL_EDITION:
                found["editions"][host] = edition
            said = line(value) if line else ""
            _progress(f"{host}: {said}" if said else "")
        else:
            found["failed"][host] = _instead(value, function)
            _progress(f"{host}: {found['failed'][host]}" if line else "")
    for unknown, some in sorted(older.items(), key=str):
        known = {name: value for name, value in arguments.items() if name not in unknown}
        _collect(found, sorted(some), function, known, timeout, line)


def _returns(hosts, function, timeout, **more):
    """Yield each host and what it returned, as it answers; Ctrl-C is a `KeyboardInterrupt` between two."""
    with _ctrl_c() as pressed, salt.client.get_local_client(mopts=__opts__) as client:
        for one in client.cmd_iter_no_block(hosts, function, timeout=timeout, tgt_type="list", **more):
            for host, data in (one or {}).items():
                yield host, data.get("ret") if isinstance(data, dict) else data
            if pressed:
                break
            time.sleep(0 if one else POLL)
    if pressed:
        raise KeyboardInterrupt


@contextlib.contextmanager
def _ctrl_c():
    """Note Ctrl-C in a list: Salt turns it into an exception, which its loader, printing a line, swallows."""
    pressed = []
    if threading.current_thread() is not threading.main_thread():
        yield pressed
        return
    before = signal.signal(signal.SIGINT, lambda *_: pressed.append(True))
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, before)


def _unknown(value):
    """Return the arguments that a host does not know, if that is what it, or Salt there, says."""
    said = re.fullmatch(r"unknown argument (.*); nothing was done", str(_error(value)))
    if isinstance(value, str):
        said = re.search(r"The following keyword arguments are not valid: (.*)", value)
    return frozenset(one.partition("=")[0] for one in said.group(1).split(", ")) if said else frozenset()


def _error(value):
    return value.get("error", "") if isinstance(value, dict) else ""


def _instead(value, function):
    if _error(value):
        return str(_error(value))
    text = " ".join(str(value).split())
    known = "is not available" in text or "Passed invalid arguments" in text
    return f"{function}: older modules or none; run saltutil.sync_all there" if known else text


def _progress(text):
    if text and not __opts__.get("output"):
        __jid_event__.fire_event({"message": text, "outputter": OUTPUTTER}, "progress")


class _Hands:
    """What a roll-out reaches the hosts with."""

    def __init__(self, timeout):
        self.timeout = timeout
        self.mark = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        self.interrupted = False

    def ask(self, function, hosts, **arguments):
        found = _ask(list(hosts), f"ipsec.{function}", arguments, self.timeout, None)
        if found["interrupted"]:
            raise KeyboardInterrupt
        return found["answers"], _lost({**found, "editions": {}})

    def apply(self, hosts, stage):
        """Apply state ipsec; return by host what is wrong, a list of sentences."""
        override = {"ipsec_rollout": {"stage": stage, "mark": self.mark}}
        found = {}
        try:
            answers = _returns(
                list(hosts), "state.apply", self.timeout, arg=["ipsec"], kwarg={"pillar": override}
            )
            for host, states in answers:
                found[host] = _wrong(states)
                self.say(f"{host}: {'; '.join(found[host]) or 'done'}")
        except salt.exceptions.SaltException as error:
            said = " ".join(str(error).split())
            lost = [host for host in hosts if host not in found]
            found.update((host, [f"not known, the master says: {said}"]) for host in lost)
        return found

    def say(self, text):
        _progress(text)

    def clock(self):
        return time.monotonic()

    def sleep(self, seconds):
        time.sleep(seconds)


def _wrong(states):
    """Return what is wrong in the answer of ``state.apply``; what only follows from it is left out."""
    if not isinstance(states, dict):
        return [" ".join(str(one).split()) for one in (states if isinstance(states, list) else [states])]
    return [
        f"{one.get('__id__', name)}: {' '.join(str(one['comment']).split())}"
        for name, one in states.items()
        if one["result"] is False and "requisite failed" not in str(one["comment"])
    ]


# Telling -------------------------------------------------------------------------------------


def _whole(name, value):
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        allowed = (
            "a whole number of hosts, 0 for all at once" if name == "batch" else "a whole number of hosts"
        )
        raise HostIPsecError(f"{name}: found {value!r}; allowed: {allowed}")
    return value


def _seconds(name, value, least=0, most=3600):
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
        raise HostIPsecError(f"{name}: found {value!r}; allowed: seconds from {least} to {most}")
    return value


def _asked(value):
    if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
        raise HostIPsecError(f"asked: found {value!r}; allowed: seconds since 1970")
    return time.time() if value is None else value


def _switch(name, value):
    if not isinstance(value, bool):
        raise HostIPsecError(f"{name}: found {value!r}; allowed: True, False")
    return value


def _listed(name, value):
    """Return a list of names, given as one, as a list, or with commas between."""
    found = value.split(",") if isinstance(value, str) else [] if value is None else value
    if not isinstance(found, list):
        raise HostIPsecError(f"{name}: found {value!r}; allowed: a list of names")
    return [str(one).strip() for one in found]


def _no_more(more, kwargs):
    """Refuse in a sentence what is too much: Salt would print a usage text and exit with 0.

    Only the target has no name: a second one would be taken for the reason.
    """
    if more:
        said = ", ".join(map(str, more))
        raise HostIPsecError(f"{said}: which argument is it? one target, then NAME=VALUE; nothing was asked")
    unknown = sorted(key for key in kwargs if not key.startswith("__"))
    if unknown:
        raise HostIPsecError(f"unknown argument {', '.join(unknown)}; nothing was asked of any host")


def _lost(found):
    lines = [f"{host}: {text}" for host, text in sorted(found["failed"].items())]
    for text, hosts in (("did not answer", found["silent"]), ("not asked", found["unasked"])):
        lines += [f"{text}: {', '.join(hosts)}"] if hosts else []
    if found["interrupted"]:
        waiting = ", ".join(found["unanswered"]) or "none"
        lines.append(
            f"interrupted; asked, without an answer yet, and finishing what they have begun: {waiting}"
        )
    by_edition = {}
    for host, edition in sorted(found["editions"].items()):
        by_edition.setdefault(edition, []).append(host)
    for edition, hosts in sorted(by_edition.items()):
        lines.append(
            f"hostipsec is {edition} at {joined.some(hosts)}, and {EDITION} at this master; "
            "run saltutil.sync_all on both"
        )
    return lines


def _result(found, lines, ok):
    said = _said([*lines, *_lost(found)], ok, found["interrupted"])
    lost = {key: found[key] for key in ("failed", "silent", "unanswered", "unasked", "editions")}
    return {"hosts": found["answers"], **lost, **said}


def _brief(found, brief):
    """Leave out what is not for people where that is wanted."""
    return {key: found[key] for key in ("lines", "retcode", "outputter")} if brief else found


def _said(lines, ok, interrupted=False):
    code = INTERRUPTED if interrupted else 0 if ok else 1
    __context__["retcode"] = code
    return {"lines": lines, "retcode": code, "outputter": OUTPUTTER}


def _refused(error):
    __context__["retcode"] = 2
    return {"error": str(error), "lines": str(error).splitlines(), "retcode": 2, "outputter": OUTPUTTER}

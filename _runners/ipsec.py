"""
IPsec of the whole fleet, from the master: both ends of every pair, down, up, and proof.

Asks the hosts' own module ``ipsec``. By default all hosts of the pillar are meant. One line is printed for
each host as it answers (not with ``--out``), then a summary, then trouble in full. The exit status is 0 only
if the whole target answered and is as asked; 1 where not; 2 where nothing was asked of any host; and 3
where ``plan`` found something to do.
"""

import salt.client
import salt.utils.minions

try:
    from hostipsec import addresses, fleetplan, joined, pillar, planwords, topology
    from hostipsec.errors import HostIPsecError

    HAS_ENGINE = True
except ImportError:
    HAS_ENGINE = False

__virtualname__ = "ipsec"

OUTPUTTER = "ipsec"  # _output/ipsec.py
TIMEOUT = 15  # seconds


def __virtual__():
    if not HAS_ENGINE:
        return False, "package hostipsec is not on this master; run: salt-run saltutil.sync_all"
    return __virtualname__


def status(site=None, host=None, state=None, timeout=TIMEOUT):
    """
    The mesh, as both ends of every pair see it. Changes nothing.

    site
        only pairs with an end at this site
    host
        only pairs with this minion id
    state
        only connections in this state: ``up``, ``down``, ``ends disagree``, ``held``, ``maintenance``,
        ``one-way``, ``duplicate``, ``not answering``
    timeout
        seconds to wait for a host that says nothing

    Returns a dictionary:

    ``connections``
        a list of dictionaries: ``one`` and ``other`` (minion ids, the initiator first), ``family``,
        ``stage``, ``state``, ``reason``, ``sites``, ``ok``
    ``counts``
        connections by state
    ``certificates``
        by host, days until its certificate expires
    ``silent``
        hosts that did not answer
    ``failed``
        by host, what it said instead of a status
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
        fleet = _fleet()
        _known(fleet, site, host, state)
    except HostIPsecError as error:
        return _refused(error)
    wanted = sorted(one.id for one in fleet.hosts if not one.maintenance)
    answers, failed, silent = _ask(wanted, "ipsec.status", {}, timeout, _status_line)
    view = joined.join(
        fleet,
        {name: {**found["connections"]} for name, found in answers.items()},
        {name: sorted(found["unmanaged"]) for name, found in answers.items()},
    )
    rows = tuple(
        row
        for row in view.rows
        if site in (None, *row.sites) and host in (None, row.one, row.other) and state in (None, row.state)
    )
    whole = (site, host, state) == (None, None, None)
    shown = joined.View(rows, view.stray if whole else ())
    lost = (silent or failed) and whole
    ends = {name: found["certificate"] for name, found in answers.items() if found.get("certificate")}
    soon = [f"{name}: {one['sentence']}" for name, one in sorted(ends.items()) if one["severity"] != "ok"]
    return {
        "connections": [
            {
                "one": row.one,
                "other": row.other,
                "family": row.family,
                "stage": row.stage,
                "state": row.state,
                "reason": row.reason,
                "sites": list(row.sites),
                "ok": row.ok,
            }
            for row in shown.rows
        ],
        "counts": dict(shown.counts),
        "certificates": {name: one["days_left"] for name, one in sorted(ends.items())},
        "silent": silent,
        "failed": failed,
        **_said(
            [*shown.lines(), *_first_end(ends), *soon, *_lost(silent, failed)],
            shown.ok and not lost and not soon,
        ),
    }


def _first_end(ends):
    """Say which host's certificate expires first."""
    if not ends:
        return []
    days, host = min((one["days_left"], host) for host, one in ends.items())
    return [f"certificates: the first expires in {days} days, that of {host}"]


def down(
    tgt=None,
    reason="",
    deadline=10,
    hold=True,
    batch=0,
    dry_run=False,
    tgt_type="glob",
    timeout=TIMEOUT,
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

    Returns a dictionary:

    ``hosts``
        by minion id what :py:func:`ipsec.down <salt.modules.ipsec.down>` returned there; with ``dry_run``
        what :py:func:`ipsec.status <salt.modules.ipsec.status>` did
    ``silent``
        hosts that did not answer: what runs there is not known
    ``failed``
        by host, what it said instead
    ``lines``, ``retcode``
        the same for people; 0 only where every host of the target is down, and proven

    CLI Example:

    .. code-block:: bash

        salt-run ipsec.down reason=T195365
        salt-run ipsec.down 'cp3*' reason=T195365 deadline=5
        salt-run ipsec.down dry_run=True
    """
    arguments = {"reason": str(reason), "deadline": deadline, "hold": hold, "who": _who()}
    return _everywhere("down", tgt, tgt_type, arguments, batch, dry_run, timeout)


def up(tgt=None, deadline=30, batch=20, dry_run=False, tgt_type="glob", timeout=TIMEOUT):
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

    Every host lifts its hold and starts what it has (``wait=False``) before any is waited for: a peer that is
    still held would refuse, and hosts would wait for each other.

    Returns the same as :py:func:`down`, with what :py:func:`ipsec.up <salt.modules.ipsec.up>` returned.

    CLI Example:

    .. code-block:: bash

        salt-run ipsec.up
        salt-run ipsec.up 'cp3*' deadline=60
    """
    arguments = {"deadline": deadline, "who": _who()}
    return _everywhere("up", tgt, tgt_type, arguments, batch, dry_run, timeout)


def verify(tgt=None, capture=False, rekey=False, tgt_type="glob", timeout=TIMEOUT):
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

    Returns the same as :py:func:`down`, with what ``ipsec.verify`` returned.

    CLI Example:

    .. code-block:: bash

        salt-run ipsec.verify
        salt-run ipsec.verify 'cp3*' rekey=True
    """
    arguments = {"capture": capture, "rekey": rekey}
    return _everywhere("verify", tgt, tgt_type, arguments, 0, False, timeout)


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
        accepted = _accepted(*(("*", "glob") if tgt is None else (tgt, tgt_type)))
        if not accepted:
            raise HostIPsecError(f"tgt={tgt}: no accepted minion fits; nothing was asked of any host")
    except HostIPsecError as error:
        return _refused(error)
    members = fleetplan.concerned(fleet, {}) if tgt is None else ()
    answers, failed, silent = _ask(sorted({*accepted, *members}), "ipsec.plan", {}, timeout, None)
    matter = fleetplan.concerned(fleet, answers) if tgt is None else accepted
    silent = [host for host in silent if host in matter]
    failed = {host: text for host, text in failed.items() if host in matter}
    found = fleetplan.join(fleet, answers, {*silent, *failed})
    lines = [*planwords.lines(found), *_lost(silent, failed)]
    __context__["retcode"] = found.status
    return {
        **found.as_dict(),
        "silent": silent,
        "failed": failed,
        "lines": lines,
        "retcode": found.status,
        "outputter": OUTPUTTER,
    }


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


def _mined(hosts):
    found = {}
    for function in ("network.ip_addrs", "network.ip_addrs6"):
        for host, addrs in (__salt__["mine.get"](",".join(hosts), function, "list") or {}).items():
            found.setdefault(host, []).extend(addrs or [])
    return found


def _known(fleet, site, host, state):
    """Refuse what a filter cannot fit: an empty answer would look like a fleet at rest."""
    sites = sorted({str(one.labels["site"]) for one in fleet.hosts if "site" in one.labels})
    allowed = {"site": sites, "host": sorted(one.id for one in fleet.hosts), "state": joined.STATES}
    for name, value in (("site", site), ("host", host), ("state", state)):
        if value is not None and value not in allowed[name]:
            raise HostIPsecError(f"{name}: found {value!r}; allowed: {', '.join(allowed[name])}")


def _members():
    """Return the ids of the hosts that have peers; in maintenance as well, they may have tunnels yet."""
    fleet = _fleet()
    found = topology.pairs(fleet, maintenance=True)
    return sorted({host for pair in found for host in pair})


def _who():
    return f"{__user__} (salt-run)"


# Asking --------------------------------------------------------------------------------------


def _everywhere(verb, tgt, tgt_type, arguments, batch, dry_run, timeout):
    try:
        size = _whole("batch", batch)
        hosts = _members() if tgt is None else _accepted(tgt, tgt_type)
        if not hosts:
            raise HostIPsecError(f"tgt={tgt}: no accepted minion fits; nothing was asked of any host")
    except HostIPsecError as error:
        return _refused(error)
    if dry_run:
        answers, failed, silent = _ask(hosts, "ipsec.status", {}, timeout, lambda found: "")
        lines = [f"{host}: {_would(verb, found)}" for host, found in sorted(answers.items())]
        return _result(answers, failed, silent, [*lines, f"{len(answers)} hosts asked, nothing was changed"])
    if verb == "up":
        for start in range(0, len(hosts), size or len(hosts)):
            part = hosts[start : start + (size or len(hosts))]
            _ask(part, "ipsec.up", {**arguments, "wait": False}, timeout, lambda found: "")
        size = 0
    answers, failed, silent = {}, {}, []
    for start in range(0, len(hosts), size or len(hosts)):
        part = hosts[start : start + (size or len(hosts))]
        more = _ask(part, f"ipsec.{verb}", arguments, timeout, _line)
        answers.update(more[0])
        failed.update(more[1])
        silent += more[2]
    good = [host for host, found in answers.items() if _good(found)]
    lines = [f"{len(good)} of {len(hosts)} hosts are as asked: {_DONE[verb]}"]
    for host, found in sorted(answers.items()):
        lines += [f"{host}: {text}" for text in _trouble(found)]
    return _result(answers, failed, silent, lines, len(good) == len(hosts))


_DONE = {
    "down": "down, and proven",
    "up": "every connection up",
    "verify": "every connection encrypted both ways",
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


def _trouble(found):
    """Yield what is not as asked on a host, sentences."""
    yield from found["problems"]
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


def _ask(hosts, function, arguments, timeout, line):
    """Return the answers by host, what other hosts said instead, and the hosts that did not answer.

    ``line`` makes what is printed as a host answers; with None nothing is.
    """
    answers, failed = {}, {}
    with salt.client.get_local_client(mopts=__opts__) as client:
        calls = client.cmd_iter(hosts, function, timeout=timeout, tgt_type="list", kwarg=arguments)
        for found in calls:
            for host, data in (found or {}).items():
                value = data.get("ret") if isinstance(data, dict) else data
                if isinstance(value, dict) and "connections" in value:
                    answers[host] = value
                    said = line(value) if line else ""
                    _progress(f"{host}: {said}" if said else "")
                else:
                    failed[host] = _instead(value, function)
                    _progress(f"{host}: {failed[host]}" if line else "")
    return answers, failed, sorted(host for host in hosts if host not in answers and host not in failed)


def _instead(value, function):
    if isinstance(value, dict) and "error" in value:
        return str(value["error"])
    text = " ".join(str(value).split())
    known = "is not available" in text or "Passed invalid arguments" in text
    return f"{function}: older modules or none; run saltutil.sync_all there" if known else text


def _progress(text):
    if text and not __opts__.get("output"):
        __jid_event__.fire_event({"message": text, "outputter": OUTPUTTER}, "progress")


# Telling -------------------------------------------------------------------------------------


def _whole(name, value):
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise HostIPsecError(f"{name}: found {value!r}; allowed: a whole number of hosts, 0 for all at once")
    return value


def _lost(silent, failed):
    lines = [f"{host}: {text}" for host, text in sorted(failed.items())]
    return [*lines, *([f"did not answer: {', '.join(silent)}"] if silent else [])]


def _result(answers, failed, silent, lines, ok=True):
    good = ok and not failed and not silent
    said = _said([*lines, *_lost(silent, failed)], good)
    return {"hosts": answers, "failed": failed, "silent": silent, **said}


def _said(lines, ok):
    __context__["retcode"] = 0 if ok else 1
    return {"lines": lines, "retcode": 0 if ok else 1, "outputter": OUTPUTTER}


def _refused(error):
    __context__["retcode"] = 2
    return {"error": str(error), "lines": str(error).splitlines(), "retcode": 2, "outputter": OUTPUTTER}

"""
IPsec of the whole fleet, from the master: both ends of every pair, down, up, and proof.

Asks the hosts' own module ``ipsec``. By default all hosts of the pillar are meant. One line is printed for
each host as it answers (not with ``--out``), then a summary, then trouble in full. The exit status is 0 only
if the whole target answered and is as asked; 1 where not; 2 where nothing was asked of any host; 3 where
``plan`` found something to do; 130 where it was interrupted by Ctrl-C.
"""

import datetime
import time

import salt.client
import salt.exceptions
import salt.utils.minions
import salt.utils.network
import salt.utils.stringutils
import salt.utils.user
import salt.utils.yaml

try:
    from hostipsec import arguments, calls, paths
    from hostipsec.edition import EDITION
    from hostipsec.errors import HostIPsecError
    from hostipsec.faces import pagefile
    from hostipsec.faces.page import Made
    from hostipsec.fleet import asking, commands, filecheck, planwords, reading, targets, underway
    from hostipsec.fleet.aim import Aim
    from hostipsec.fleet.ledger import Ledger
    from hostipsec.fleet.repairs import Repair
    from hostipsec.pillar import digest
    from hostipsec.system import bus, interrupts, piped, quiet

    HAS_ENGINE = True
except ImportError:
    HAS_ENGINE = False

__virtualname__ = "ipsec"

OUTPUTTER = "ipsec"  # _output/ipsec.py
TIMEOUT = 15  # seconds
JITTER = 2  # seconds
POLL = 0.02  # seconds between two looks for answers
BUS, MASTER = 5, 60  # seconds that a line, and the answer, wait for a master that is restarted


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
        more), ``reason``, ``sites``, ``ok``, ``anew`` (whether the two could authenticate anew now, by their
        certificates and CAs: ``yes``, ``no``, ``not known``), ``post_quantum`` (whether its keys are, or
        ``None`` where no end has an SA)
    ``counts``
        connections by state
    ``certificates``
        by host, days until its certificate expires
    ``warnings``
        by host, what it could not look at (its kernel, its pillar), and that its keeper does not run
    ``silent``, ``failed``, ``editions``
        as of :py:func:`down`
    ``lines``, ``retcode``
        the same for people; 0 where all is well

    CLI Example:

    .. code-block:: bash

        salt-run ipsec.status
        salt-run ipsec.status site=esams state='ends disagree' --out=json
    """
    try:
        _no_more(more, kwargs)
        seconds, limit = arguments.seconds("wait", wait), arguments.whole("threshold", threshold)
        brief, client = arguments.switch("brief", brief), _Client(timeout)
        fleet, why = _aim().fleet_or_why()
        if fleet is None and (host, state, within) == (None, None, None):
            ask = asking.Asking(client)
            return _outcome(commands.recorded_status(ask, _aim().recorded(ask, why, site)), brief)
        chosen = targets.chosen(fleet or _fleet(), site, host, state, within)
    except HostIPsecError as error:
        return _refused(error)
    found = commands.status(
        asking.Asking(client), fleet, chosen, seconds, targets.beside(fleet, _aim().others())
    )
    return _told(found.as_dict(limit, EDITION), brief)


def report(path=None, *more, interval=300, timeout=TIMEOUT, **kwargs):
    """
    Write the whole mesh into one HTML file, which is replaced whole. Nothing else is changed.

    path
        of the file, absolute; by default ``hostipsec/report.html`` in the master's cachedir
    interval
        seconds until the next report: when two have passed, the page says that it is old
    timeout
        as for :py:func:`status`

    Returns a dictionary: ``path``, ``sentence``, ``error`` (why there is no new page, or nothing), ``lines``
    and ``retcode``: 0 where the page was written, whatever it tells; where not, the one before stays.

    CLI Example:

    .. code-block:: bash

        salt-run ipsec.report path=/srv/www/ipsec.html
    """
    try:
        _no_more(more, kwargs)
        seconds, client = arguments.seconds("interval", interval, 1, 7 * 86400), _Client(timeout)
        file, fleet, made = pagefile.ready(path, __opts__["cachedir"]), _fleet(), time.time()
        found = commands.whole(asking.Asking(client), fleet, targets.beside(fleet, _aim().others()))
    except HostIPsecError as error:
        return _refused(error)
    return _told(pagefile.write(file, fleet, found, Made(made, seconds, EDITION)))


def down(
    tgt=None,
    *more,
    reason="",
    deadline=None,
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
        which hosts; by default every host of the pillar that has peers, and each other accepted minion with
        connections on record: these alone where the pillar cannot be used. With a target it is not read
    reason
        why, for every status and whoever logs in
    deadline
        seconds for each host (default: 10)
    hold
        ``False``: peers may bring the connections back at once
    batch
        so many hosts at a time; 0 for all at once
    dry_run
        only say what would be ended
    tgt_type
        how Salt reads ``tgt``
    site
        instead of ``tgt``, hosts at this site, or at each of a list: by the pillar, others by their records
    threshold
        the exit status is 0 as well where so many hosts, and no more, are not as asked
    asked
        when this was decided, seconds since 1970; by default now. Of two commands that are given to the fleet
        at the same time each host obeys the later one, in whatever order they reach it. Hosts that refuse it
        for one that lies ahead of this master's clock are asked once more, as of after that one
    brief, timeout
        as for :py:func:`status`

    Returns a dictionary:

    ``hosts``
        by minion id what :py:func:`ipsec.down <salt.modules.ipsec.down>` returned there; with ``dry_run``
        what :py:func:`ipsec.status <salt.modules.ipsec.status>` did
    ``silent``, ``failed``, ``editions``
        as for :py:func:`status`; what runs on silent hosts is not known
    ``unanswered``, ``unasked``
        after Ctrl-C: hosts that were asked, and finish what they have begun; hosts that were not
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
        told = {
            "reason": str(reason),
            "deadline": arguments.deadline(deadline, paths.DOWN_DEADLINE),
            "hold": arguments.switch("hold", hold),
            "who": _who(),
            "asked": arguments.asked(asked, time.time()),
        }
        limit, client = arguments.whole("threshold", threshold), _Client(timeout)
        size, brief = arguments.batch(batch), arguments.switch("brief", brief)
        only_say, ask = arguments.switch("dry_run", dry_run), asking.Asking(client)
        meant = _aim().meant(ask, tgt, tgt_type, site)
        if only_say:
            return _outcome(commands.dry_run(ask, "down", meant))
        return _outcome(commands.command(ask, "down", meant, told, size, limit), brief)
    except HostIPsecError as error:
        return _refused(error)


def up(
    tgt=None,
    *more,
    deadline=None,
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

    deadline
        seconds for each host until all of its connections are up (default: 30)
    batch
        so many hosts at a time are first told to start, so that a fleet does not negotiate at once; 0 for all
        at once
    tgt, tgt_type, site, timeout, dry_run, threshold, asked, brief
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
    """
    try:
        _no_more(more, kwargs)
        told = {
            "deadline": arguments.deadline(deadline, paths.UP_DEADLINE),
            "who": _who(),
            "asked": arguments.asked(asked, time.time()),
        }
        limit, client = arguments.whole("threshold", threshold), _Client(timeout)
        size, spread = arguments.batch(batch), arguments.seconds("jitter", jitter)
        only_say, waiting = arguments.switch("dry_run", dry_run), arguments.switch("wait", wait)
        brief, ask = arguments.switch("brief", brief), asking.Asking(client)
        meant = _aim().meant(ask, tgt, tgt_type, site)
        if only_say:
            return _outcome(commands.dry_run(ask, "up", meant))
        if not waiting:
            return _outcome(commands.start(ask, meant, {**told, "jitter": spread}, size, limit), brief)
        found = commands.up(ask, meant, told, spread, size, limit, _aim().everybody())
    except HostIPsecError as error:
        return _refused(error)
    return _outcome(found, brief)


def verify(
    tgt=None, *more, capture=False, rekey=False, tgt_type="glob", timeout=TIMEOUT, site=None, **kwargs
):
    """
    Prove on every host that what goes to its peers, and what comes back, goes in ESP.

    capture, rekey
        as for :py:func:`ipsec.verify <salt.modules.ipsec.verify>`
    tgt, tgt_type, site, timeout
        as for :py:func:`down`

    Returns the same as :py:func:`down`, with what ``ipsec.verify`` returned. What the pillar gives a host and
    it does not prove is named, and the exit status is 1; so it is where there is nothing to prove.

    CLI Example:

    .. code-block:: bash

        salt-run ipsec.verify
        salt-run ipsec.verify 'cp3*' rekey=True
    """
    try:
        _no_more(more, kwargs)
        told = {name: arguments.switch(name, one) for name, one in (("capture", capture), ("rekey", rekey))}
        client, hosts = _Client(timeout), _aim().known(tgt, tgt_type, site)
        fleet = _fleet() if tgt is None else _aim().fleet_or_why()[0]
    except HostIPsecError as error:
        return _refused(error)
    return _outcome(commands.verify(asking.Asking(client), hosts, told, fleet))


def sites(only=None, *more, **kwargs):
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
        why there are none, and then the exit status is 2; empty where there are

    CLI Example:

    .. code-block:: bash

        salt-run ipsec.sites
    """
    try:
        _no_more(more, kwargs)
        found = targets.sites(_fleet(), only)
    except HostIPsecError as error:
        return {**_refused(error), "sites": [], "asked": time.time()}
    return {"sites": found, "asked": time.time(), "error": ""}


def plan(tgt=None, tgt_type="glob", timeout=TIMEOUT, *more, **kwargs):
    """
    What the pillar, as it is now, would change in the fleet. Changes nothing.

    Every accepted minion is asked, so that hosts are seen which have connections of ours and are no members
    any more. A pillar that is wrong is said with all its errors, and no host is asked.

    tgt, tgt_type, timeout
        as for :py:func:`down`; only these hosts: ends of pairs beyond them are not known then

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
    ``refusals``
        who would refuse whom at the next authentication, dictionaries of ``host``, ``by`` and ``why``
    ``expect``
        number of assertions of the pillar; all hold, or the pillar would be wrong
    ``hosts``
        by minion id ``standing``, ``changes`` and ``warnings`` of
        :py:func:`ipsec.plan <salt.modules.ipsec.plan>` there
    ``silent``, ``failed``
        hosts that did not answer, and by host what it said instead; those only that have peers or had some
    ``lines``, ``retcode``
        the same for people; 0 where there is nothing to do, 3 where there is, 1 where a host did not answer
        or failed, or lacks an address, or ends would disagree or refuse each other, 2 where no host was asked

    CLI Example:

    .. code-block:: bash

        salt-run ipsec.plan
        salt-run ipsec.plan --out=json
    """
    try:
        _no_more(more, kwargs)
        client, fleet = _Client(timeout), _fleet()
        accepted = _aim().some(tgt, tgt_type)
    except HostIPsecError as error:
        return _refused(error)
    return _told(planwords.answer(*commands.plan(asking.Asking(client), fleet, accepted, tgt is None)))


def check(*more, files=None, against=None, ext_pillar=False, **kwargs):
    """
    The pillar as the master compiles it: errors, warnings, and which hosts pair up. Asks no host.

    files
        check these files instead, a list of paths at the master, as ``python3 -m hostipsec.check`` does: each
        error and warning with its line
    against
        the files of before, a list: say as well what the edit from them means for the fleet, in the words of
        :py:func:`plan`
    ext_pillar
        ``True``: they are files of this package's ext_pillar

    Returns a dictionary: ``errors`` and ``warnings``, dictionaries of ``path``, ``found``, ``allowed``,
    ``file`` and ``line`` (without ``files`` empty where Salt compiles the pillar: it has no lines of that,
    nor numbers as they were written, ``0x10``; of the files of our ext_pillar it has both);
    ``pairs``, dictionaries of ``one`` and ``other`` (minion ids, the initiator first), ``rule`` and
    ``families``, none beside errors; with ``against``, ``plan`` (``None``, with ``old``, what is wrong with
    those, where it cannot be told); ``lines``; ``retcode``: 0 without errors, else 2.

    CLI Example:

    .. code-block:: bash

        salt-run ipsec.check
        salt-run ipsec.check files=/srv/pillar/ipsec.sls against=/root/ipsec.sls.before
    """
    try:
        _no_more(more, kwargs)
        new, old = arguments.files("files", files), arguments.files("against", against)
        ours = arguments.switch("ext_pillar", ext_pillar)
        if not new and (old or ours):
            raise HostIPsecError("against, ext_pillar: files= is missing, the pillar that they are about")
        return _told(filecheck.answer(new, old, ours) if new else filecheck.compiled(_fleet, __opts__))
    except HostIPsecError as error:
        return _refused(error)


def rollout(
    tgt=None,
    *more,
    stage="",
    batch=0,
    by="site",
    deadline=60,
    dry_run=False,
    back=False,
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

    stage
        go no further than this: ``passive``, ``start`` or ``require``; by default as far as the rules say
    batch
        so many hosts of a site at a time; 0 for all of a site; one that moves to another back end goes alone
    by
        the label of hosts that makes a batch
    deadline
        seconds until the connections of a batch have to be up
    dry_run
        only say which hosts would be changed, in which order
    back
        where it stops, take back at once what it changed, and nothing else; not where it is interrupted
    tgt, tgt_type, timeout
        as for :py:func:`down`

    Ends that would refuse each other's certificate stop it before anything is changed. What is in trouble
    before, at pairs that the edit leaves what they are, is told and stops nothing; nor does what is held. An
    edit of the pillar meanwhile stops it, and at its end all hosts are asked once more.
    One runs at a time. One that was stopped is gone on with by the next, under the same mark.

    Returns a dictionary:

    ``mark``
        of this roll-out, for :py:func:`rollback`; None where it was only said what would be done
    ``changed``
        hosts that were changed, in their order
    ``unknown``
        hosts that were told to change, and did not say what they did
    ``stopped``
        what stopped it, a list of sentences; empty where it went through
    ``lines``, ``retcode``
        the same for people; 0 where everything is as the pillar says, or there was nothing to do; 2 where the
        pillar gives a host an address that it does not have, or another roll-out is under way: nothing was
        changed

    CLI Example:

    .. code-block:: bash

        salt-run ipsec.rollout dry_run=True
        salt-run ipsec.rollout 'cp3*' stage=passive
    """
    try:
        _no_more(more, kwargs)
        client, hosts, (data, fleet) = _Client(timeout), _aim().known(tgt, tgt_type), _pillar()
        order = underway.ordered(fleet, hosts, by, batch, deadline, stage, tgt is None, back)
        if arguments.switch("dry_run", dry_run):
            return _told(underway.foresee(order, client))
        digests, now = digest.each(data, lambda: _pillar()[0]), datetime.datetime.now(datetime.timezone.utc)
        return _told(underway.roll(order, client, _ledger(), digests.__next__, now, _who()))
    except HostIPsecError as error:
        return _refused(error)


def reauthenticate(tgt=None, *more, lead=10, deadline=None, tgt_type="glob", timeout=TIMEOUT, **kwargs):
    """
    Authenticate every established connection anew, with the certificates and options of now.

    After a change of ciphers or certificates, tunnels go on with what they were made with. All hosts begin at
    one moment: each pair gets a new IKE SA beside the old one, which ends when the new one is up. Where the
    kernel does ESP and the configuration of the end that starts differs, no packet is lost. Needs clocks that
    agree to a second.

    tgt, tgt_type, timeout
        as for :py:func:`down`; a pair is done by the end that starts it
    lead
        seconds until the moment: more where hosts take longer to hear of it
    deadline
        seconds for the new IKE SAs from then on (default: 30)

    Returns the same as :py:func:`down`, with what
    :py:func:`ipsec.reauthenticate <salt.modules.ipsec.reauthenticate>` returned.

    CLI Example:

    .. code-block:: bash

        salt-run ipsec.reauthenticate
    """
    try:
        _no_more(more, kwargs)
        ahead = arguments.seconds("lead", lead, most=600)
        seconds = arguments.deadline(deadline, paths.UP_DEADLINE)
        client, hosts = _Client(timeout), _aim().known(tgt, tgt_type)
    except HostIPsecError as error:
        return _refused(error)
    told = {"at": time.time() + ahead, "deadline": seconds}
    return _outcome(commands.reauthenticate(asking.Asking(client), hosts, told))


def rollback(tgt=None, *more, mark=None, dry_run=False, tgt_type="glob", timeout=TIMEOUT, **kwargs):
    """
    Bring back what hosts ran before their last change: by default what the last roll-out changed.

    The pillar stays as it is: take the change out there, or the next ``state.apply`` brings it again. Each
    host is told of which roll-out the change has to be, and refuses to undo another's.

    tgt
        which hosts, whatever changed them last; by default all that the roll-out changed
    mark
        of the roll-out; by default the last one
    dry_run
        only say which hosts would go back, and to when
    tgt_type, timeout
        as for :py:func:`down`

    Returns the same as :py:func:`down`, with what
    :py:func:`ipsec.rollback <salt.modules.ipsec.rollback>` returned.

    CLI Example:

    .. code-block:: bash

        salt-run ipsec.rollback dry_run=True
        salt-run ipsec.rollback
    """
    try:
        _no_more(more, kwargs)
        ask, only_say = asking.Asking(_Client(timeout)), arguments.switch("dry_run", dry_run)
        accepted = _aim().some(None, tgt_type) if tgt is None else _aim().known(tgt, tgt_type)
        named, mark = tgt is not None and mark is None, "" if mark is None else str(mark)
        if only_say:
            found = underway.would_go_back(ask, _ledger(), accepted, named, mark)
        else:
            found = underway.back(ask, _ledger(), accepted, named, tgt is None, mark, _who())
    except HostIPsecError as error:
        return _refused(error)
    return _outcome(found)


def repair(*more, site=None, host=None, budget=5, dry_run=True, deadline=None, timeout=TIMEOUT, **kwargs):
    """
    Begin anew what both ends say is broken, one connection at a time; by default only say which.

    Both ends are asked, twice: the IKE SAs that were there both times are ended, and the end that starts the
    connection starts it. What is held, in maintenance, well, or told by one end alone is left alone.

    budget
        so many connections; where more are broken nothing is done
    dry_run
        ``False``: do it
    deadline
        seconds for each connection (default: 30)
    site, host, timeout
        as for :py:func:`status`

    Returns a dictionary: ``broken``, dictionaries of ``one``, ``other`` (minion ids), ``family``, ``state``,
    ``reason``, ``would``, ``done`` (None: not begun), ``why``; ``left`` and ``resting``, the same of what is
    left alone; ``silent``, ``failed``, ``lines``; ``retcode``: 0 all is well, 3 something would be done.

    CLI Example:

    .. code-block:: bash

        salt-run ipsec.repair host=cp3001.esams.example dry_run=False
    """
    try:
        _no_more(more, kwargs)
        most = arguments.whole("budget", budget, "a whole number of connections")
        seconds = arguments.deadline(deadline, paths.UP_DEADLINE)
        only_say, ask, fleet = arguments.switch("dry_run", dry_run), asking.Asking(_Client(timeout)), _fleet()
        work = Repair(ask, fleet, targets.chosen(fleet, site, host, None, None), most, seconds)
        return _told((work.foresee() if only_say else work.carry_out(_ledger(), _who())).as_dict())
    except HostIPsecError as error:
        return _refused(error)


# The fleet -----------------------------------------------------------------------------------


def _fleet():
    """Return the fleet of the pillar."""
    return _pillar()[1]


def _pillar():
    """Return the pillar's data and its fleet."""
    runners, load = calls.Calls(__salt__, "salt-run"), salt.utils.yaml.safe_load
    return reading.pillar(__opts__, runners, _aim().everybody, load, _addresses)


def _addresses():
    return [*salt.utils.network.ip_addrs(), *salt.utils.network.ip_addrs6()]


def _accepted(tgt, tgt_type):
    """Return the ids of the accepted minions that a target means, sorted."""
    meant = targets.expression(tgt, tgt_type)
    with quiet.errors("salt.utils.minions") as raised:
        try:
            found = salt.utils.minions.CkMinions(__opts__).check_minions(meant, tgt_type)["minions"]
        except Exception as error:  # a module that a target asks, say
            raised.insert(0, calls.words(error))
    if raised:
        raise HostIPsecError(f"tgt={meant}, tgt_type={tgt_type}: Salt cannot read it: {raised[0]}")
    return sorted(found)


def _aim():
    """Return what tells which hosts are meant."""
    runners = calls.Calls(__salt__, "salt-run")
    return Aim(_accepted, _fleet, lambda hosts: reading.members(runners, hosts), _group)


def _group(name):
    """Return the compound target that a nodegroup of the master stands for; empty where there is none."""
    with quiet.errors("salt.utils.minions"):
        try:
            return " ".join(salt.utils.minions.nodegroup_comp(name, __opts__.get("nodegroups") or {}))
        except Exception:  # what Salt cannot read means no minion, and that is told
            return ""


def _who():
    """Return who is at the keyboard; an orchestration does not say it to its runners."""
    user = salt.utils.user.get_specific_user() if __user__ == "UNKNOWN" else __user__
    return f"{user} (salt-run)"


def _ledger():
    return Ledger(__opts__["cachedir"])


# Arguments -----------------------------------------------------------------------------------


def _no_more(more, kwargs):
    """Refuse in a sentence what is too much: Salt would print a usage text and exit with 0."""
    arguments.one_target(more)
    arguments.no_more(kwargs, "nothing was asked of any host")


# Salt ----------------------------------------------------------------------------------------


class _Client:
    """Salt's client, which waits so many seconds for a host that says nothing."""

    def __init__(self, timeout):
        self._timeout = arguments.seconds("timeout", timeout)

    def returns(self, hosts, function, told):
        """Yield each host and what it returned, as it answers; Ctrl-C is a KeyboardInterrupt between two."""
        # for as long the silent are asked whether they are at it yet
        gather = min(self._timeout, __opts__["gather_job_timeout"])
        named = {"tgt_type": "list", "kwarg": told, "gather_job_timeout": gather}
        try:
            with interrupts.noted() as pressed, salt.client.get_local_client(mopts=__opts__) as client:
                for one in client.cmd_iter_no_block(list(hosts), function, timeout=self._timeout, **named):
                    for host, data in (one or {}).items():
                        if not (isinstance(data, dict) and "failed" in data):  # Salt of who has no key
                            yield host, data.get("ret") if isinstance(data, dict) else data
                    if pressed:
                        break
                    time.sleep(0 if one else POLL)
        except salt.exceptions.SaltException as error:
            raise asking.MasterError(" ".join(str(error).split())) from error
        except Exception as error:  # of its transport, its returners: there is no end of what they raise
            raise asking.MasterError(calls.words(error)) from error
        if pressed:
            raise KeyboardInterrupt

    def say(self, text):
        """Print a line, unless data is asked for."""
        if text and not __opts__.get("output"):
            if _bus(BUS):
                __jid_event__.fire_event({"message": text, "outputter": OUTPUTTER}, "progress")
            else:
                salt.utils.stringutils.print_cli(text)
            piped.on()

    clock, sleep, wall = map(staticmethod, (time.monotonic, time.sleep, time.time))


def _bus(seconds):
    """Say whether the master takes what a runner says, within so many seconds."""
    return bus.takes(__opts__.get("sock_dir", ""), seconds)


# Telling -------------------------------------------------------------------------------------


def _outcome(found, brief=False):
    return _told(found.as_dict(EDITION), brief)


def _told(found, brief=False):
    """Return plain values; ``brief`` leaves out what is not for people."""
    __context__["retcode"] = found["retcode"]
    found = {**found, "outputter": OUTPUTTER}
    if not _bus(MASTER):  # Salt has a traceback in place of the answer
        salt.utils.stringutils.print_cli("\n".join(found["lines"]))
    return {key: found[key] for key in ("lines", "retcode", "outputter")} if brief else found


def _refused(error):
    return _told({"error": str(error), "lines": str(error).splitlines(), "retcode": 2})

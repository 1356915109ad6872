"""
IPsec between this host and its peers: what is configured, what is up.

The engine is the package ``hostipsec`` in ``_utils``; ``saltutil.sync_all`` brings both.

Verbs answer with ``ok`` (everything is as asked), ``sentence`` (a summary), ``connections`` (by name),
``problems`` (what is not as asked) and ``notes`` (what else is worth knowing), both sentences; what these
mean beyond that, and further keys, stand with each (``edition`` with :py:func:`version`). The exit status is
0 where ``ok``, else 1. Arguments that cannot be, and what cannot be done at all, give an answer with
``error``, and exit status 2.
"""

import datetime

import salt.pillar

try:
    from hostipsec import __version__, answer, arguments, calls
    from hostipsec.apply import hostplan, rollback, run
    from hostipsec.charon import daemon
    from hostipsec.edition import EDITION
    from hostipsec.emergency import loglevel as levels_of_log
    from hostipsec.emergency import strangers, verbs
    from hostipsec.emergency.host import Host
    from hostipsec.errors import HostIPsecError
    from hostipsec.faces import firewall
    from hostipsec.faces import status as face
    from hostipsec.kernel import overhead, routing
    from hostipsec.model import STAGES
    from hostipsec.pillar import addressed, digest, membership, selection
    from hostipsec.proof import verification

    HAS_ENGINE = True
except ImportError:
    HAS_ENGINE = False

__virtualname__ = "ipsec"
__func_alias__ = {"firewall_": "firewall", "overhead_": "overhead", "rollback_": "rollback"}
_TOLD = (
    *("check", "connections", "down", "firewall_", "loglevel", "overhead_", "plan", "previous"),
    *("reauthenticate", "rollback_", "routes", "status", "up", "verify", "version"),
)
__outputter__ = dict.fromkeys(_TOLD, "ipsec")  # _output/ipsec.py; Salt goes by the names of here


def __virtual__():
    if not HAS_ENGINE:
        return False, "package hostipsec is not on this host; run: salt-call saltutil.sync_all"
    return __virtualname__


def _reading():
    """Return the reading of pillar and certificates; within a run of states, that of the run."""
    mine, masters = calls.Calls(__salt__)["mine.get"], addressed.masters(__opts__)
    return run.of(__context__, __pillar__.get("ipsec"), __grains__["id"], mine, masters)


def _member():
    return _reading().member


def _answer(found, bad=1, **beside):
    """Return an answer as plain values; ``bad`` is the exit status where it is not as asked."""
    if not found.ok:
        __context__["retcode"] = bad
    return {**beside, **found.as_dict()}


def check():
    """
    Check the pillar, and addresses, certificate, key and CA that this host would use. Changes nothing.

    Returns a dictionary:

    ``connections``
        what the pillar gives this host, by name, as :py:func:`connections` says it
    ``problems``
        what is wrong, a list of sentences that name the key, the value and what is allowed
    ``notes``, ``warnings``
        what deserves a look but stops nothing
    ``peers``
        ids of the hosts that this host has connections with
    ``lonely``
        why the host has no peers, empty when it has some

    CLI Example:

    .. code-block:: bash

        salt '*' ipsec.check
    """
    return _answer(run.check(_reading(), __grains__))


def connections():
    """
    The connections that the pillar gives this host.

    Returns a dictionary by connection name (``cp3001_v4``) of dictionaries:

    ``peer``, ``family``
        minion id of the peer, ``v4`` or ``v6``
    ``left``, ``right``
        this host's address and the peer's
    ``leftid``, ``rightid``
        subjects of the certificates
    ``initiator``
        whether this host starts the connection
    ``stage``
        ``passive``, ``start`` or ``require``

    CLI Example:

    .. code-block:: bash

        salt cp1001.eqiad.example ipsec.connections
    """
    try:
        return {one.name: one.as_dict() for one in _member().connections}
    except HostIPsecError as error:
        return _no_data(error)


def _failed(error, **own):
    """Return the answer of a verb that could not be carried out; ``own`` are its further keys."""
    return _answer(answer.failed(error, own), 2)


def _no_data(error):
    __context__["retcode"] = 2
    return {"error": str(error)}


def status(peer=None, connection=None, stage=None, configured=False, known=False):
    """
    What is up between this host and its peers, and why something is not. Changes nothing.

    Compares the connections of the pillar with what charon and the kernel show; where something looks
    wrong, both are asked a second time before it is said.

    peer
        only connections with peers whose minion id matches this shell pattern
    connection
        only connections whose name matches this shell pattern
    stage
        ``passive``, ``start`` or ``require``: judge by what a step of ``salt-run ipsec.rollout`` up to this
        stage leaves behind, from the pillar as a state run gets it; by default by all that the pillar says
    configured
        ``True``: judge by what was configured last, whatever the pillar says by now
    known
        as for :py:func:`down`

    Returns a dictionary:

    ``connections``
        by name, what the pillar gives this host, each a dictionary:

        ``peer``, ``family``, ``stage``, ``initiator``, ``ends``
            as :py:func:`connections` says them; ``ends`` are ``left`` and ``right``
        ``state``
            ``established``, ``connecting``, ``down``, ``no child`` (an IKE SA without a CHILD SA),
            ``no xfrm`` (charon has SAs that the kernel lacks), ``no address`` (this host lacks its own),
            ``not encrypted`` (SAs do not encrypt all between both), ``duplicate``, ``one-way``, ``held``
        ``severity``
            ``ok``, ``warning`` or ``critical``; a passive connection that is down is ``ok``
        ``reason``
            why it is in this state, a sentence; empty where it is established and well
        ``held``
            whether an operator holds it down, whatever its state
        ``since``, ``last_in``, ``last_out``
            seconds since its IKE SA was established, and since its SAs carried a packet; None without one
        ``rekey_in``
            seconds until the first of its SAs is due for rekeying, None where not known
        ``bytes_in``, ``bytes_out``, ``packets_in``, ``packets_out``
            over its present CHILD SAs; a rekeying starts them anew
        ``ike_ids``, ``child_ids``
            charon's unique ids of its IKE SAs and CHILD SAs, sorted
        ``mode``, ``proposal``, ``ike_proposal``
            ``TRANSPORT`` or ``TUNNEL``, the algorithms of its CHILD SA and of its IKE SA; empty where
            there is none
    ``unmanaged``
        by name, the same of what charon has and the pillar does not give this host; ``peer`` is an
        address there, ``stage`` empty and ``initiator`` None, unless the peer is in maintenance
    ``others``
        connections of others that go on beside ours (``existing: keep``): name -> ``up`` or ``not up``
    ``summary``
        ``sentence`` for the operator, ``severity`` (the worst), ``counts`` by state
    ``held``
        since when, by whom and why connections are held down, a sentence; None where none is
    ``certificate``
        that charon runs with: ``not_after``, ``days_left``, ``severity`` (``warning`` from ``warn_days`` of
        the pillar on, ``critical`` once expired), ``sentence``, ``renewed`` (another one is at the source)
    ``authentication``
        ``chain`` (CAs of its certificate), ``trusts`` (CAs that it takes), ``fault``; or None
    ``warnings``
        sentences about what could not be looked at, and that the keeper does not run
    ``backend``
        how charon was asked, ``vici`` or ``stroke``; None where it does not answer
    ``strongswan``
        version of the charon that runs, None where it does not answer

    Where charon does not answer, every connection is ``down``. The exit status is 1 where anything shown is
    not ``ok``. With an invalid pillar it is 2: shown is what was configured last, with the pillar's errors in
    ``warnings``, or an answer with ``error`` where nothing was.

    CLI Example:

    .. code-block:: bash

        salt '*' ipsec.status
        salt cp1001.eqiad.example ipsec.status peer='cp3*' connection='*_v6'
    """
    if known and not strangers.recorded():
        return _answer(strangers.outside(), edition=EDITION)
    if configured is True:
        return _answer(*face.as_configured(peer, connection))
    member = _member if stage is None else _fresh_member
    return _answer(*face.host(member, peer, connection, stage))


def _now():
    return datetime.datetime.now(datetime.timezone.utc)


def version():
    """
    The versions that matter: strongSwan's, this package's, and how charon is asked.

    Returns a dictionary:

    ``strongswan``
        version of the charon that runs, None where none answers
    ``backend``
        ``vici`` (data over charon.vici) or ``stroke`` (text of ``ipsec statusall``)
    ``package``, ``edition``
        version of hostipsec, and with a mark of its very sources

    CLI Example:

    .. code-block:: bash

        salt '*' ipsec.version
    """
    return {**daemon.versions(), "package": __version__, "edition": EDITION}


def overhead_(peer=None, mtu=None, mode=None, esp=None, family=None):
    """
    What ESP costs, and the largest packet that goes through without being fragmented. Looks at nothing.

    peer
        minion id or short name of a peer, or a shell pattern; without it, one answer a family
    mtu
        bytes of the smallest link on the way; by default ``mtu`` of the pillar, else 1500
    mode
        ``transport`` or ``tunnel``; by default ``type`` of the pillar's connections
    esp
        proposal, as ``aes128gcm16``; by default that of the pillar's connections
    family
        ``v4`` or ``v6``; by default both

    Returns a dictionary by connection (``cp3001_v4``), or by family without a peer, of dictionaries. All
    are numbers of bytes but the first four:

    ``mode``, ``esp``, ``family``
        what was computed with
    ``udp``
        whether ESP goes in UDP: with ``forceencaps``, and always where charon does ESP itself
    ``mtu``
        of the link
    ``packet``
        the longest IP packet before ESP, headers included
    ``icmp_payload``, ``udp_payload``
        what it can carry: ``ping -M do -s ICMP_PAYLOAD`` passes, one more does not
    ``tcp_mss``
        maximum segment size as a SYN announces it; options of TCP are taken from it
    ``wire``
        what the longest packet has on the line
    ``overhead``, ``overhead_most``
        what the longest packet grows by, and what any packet can grow by

    CLI Example:

    .. code-block:: bash

        salt cp1001.eqiad.example ipsec.overhead cp3001
        salt cp1001.eqiad.example ipsec.overhead mtu=1450 mode=tunnel esp=aes256-sha256
    """
    try:
        links = selection.families(_member(), peer, family)
        return {name: overhead.planned(*one, mtu, mode, esp).as_dict() for name, one in links.items()}
    except HostIPsecError as error:
        return _no_data(error)


def routes():
    """
    The routes to peers with a locked MTU (``mtu`` of the pillar). Changes nothing.

    Returns a dictionary by connection (``cp3001_v4``), and by address for a route of ours that no connection
    wants, of dictionaries:

    ``peer``, ``address``
        minion id (empty where no connection wants the route) and the address that the route is to
    ``state``
        ``ok``, ``missing``, ``differs``, ``unwanted``, ``no way`` (no route to the peer at all), ``in the
        way`` (somebody else's host route) or ``not wanted`` (the pillar has no ``mtu``)
    ``wanted``, ``there``
        the routes as ``via 10.0.0.1 dev eth0 mtu lock 1450``; empty where there is none
    ``used``
        whether the kernel sends by our route; with rules of routing policy another table may come first

    The exit status is 1 where any is not ``ok`` or ``not wanted``; what cannot be read gives ``{"error":
    sentence}`` and exit status 2.

    CLI Example:

    .. code-block:: bash

        salt cp1001.eqiad.example ipsec.routes
    """
    try:
        member = _member()
        rows = routing.rows(member.connections, member.fleet.settings.mtu)
    except HostIPsecError as error:
        return _no_data(error)
    if any(row.state not in ("ok", "not wanted") for row in rows):
        __context__["retcode"] = 1
    return {row.name: row.as_dict() for row in rows}


def firewall_(form="nftables"):
    """
    What a firewall of this host has to let through so that charon and its peers meet. Changes nothing.

    Peers in maintenance are among them. See docs/firewall.md.

    form
        ``nftables`` or ``ferm``

    Returns a text: chains for the firewall that is there to include, and to jump to.

    CLI Example:

    .. code-block:: bash

        salt-call --out=newline_values_only ipsec.firewall >/etc/nftables/ipsec.nft
    """
    try:
        write, member = firewall.FORMS[arguments.one_of("form", form, firewall.FORMS)], _member()
        return write((*member.connections, *member.resting))
    except HostIPsecError as error:
        return _no_data(error)


def down(
    *more,
    reason="",
    deadline=None,
    hold=True,
    peer=None,
    connection=None,
    who=None,
    expires=None,
    wait=True,
    asked=None,
    known=False,
    **kwargs,
):
    """
    End every connection of this host within a deadline, prove it, and keep it so. Traffic goes in the clear.

    Works from the record that state ``ipsec`` wrote, whatever the pillar says. All SAs are asked to end at
    once; what has not by the deadline ends by force, a charon that does not answer is killed, and charon and
    kernel must have nothing left of these connections. The hold lasts until :py:func:`up`: over reboots,
    ``state.apply``, package upgrades and whatever the peers try.

    reason
        why, for every status and whoever logs in
    deadline
        seconds, 0.1 to 3600 (default: 10); one more is used for force and proof
    hold
        ``False``: peers and the keeper may bring the connections back at once
    peer, connection
        as for :py:func:`status`
    who
        who wants it; by default the user of the Salt job
    expires
        the hold is over after this time, ``30m`` or ``2h``; by default it does not expire
    wait
        ``False``: ask, and neither wait nor prove
    asked
        when the whole fleet was told so, seconds since 1970 at the master: ``salt-run ipsec.down`` says it.
        Where this host obeyed a later command of the fleet already, nothing is done. What lies ahead of this
        host's clock counts as now, and ``ahead`` says so
    known
        ``True``: a host of which no connections are on record does nothing, and says so as ``unrecorded``

    Returns a dictionary:

    ``overruled``, ``ahead``
        the later command, or the lifted hold, that counts instead; that ``asked`` lies ahead, or empty
    ``later``
        from when on that later command counts, seconds since 1970; else ``None``
    ``seconds``
        how long it took
    ``held``
        since when, by whom and why the connections are held; empty where they are not
    ``hold_lost``
        whether a hold was asked for and could not be written: ``problems`` says why
    ``charon``
        ``runs``, ``not running`` or ``killed``
    ``connections``
        by name: ``peer``, ``family``, ``sas`` (IKE SAs that were ended), ``how`` (``was down``, ``ended``,
        ``forced``, ``killed``, ``cleared`` where only the kernel had it, ``asked``, ``left``) and ``left``,
        what is left of it in words, empty for nothing
    ``cleared``
        ``states`` and ``policies`` that were deleted from the kernel, as charon had left them there

    CLI Example:

    .. code-block:: bash

        salt cp1001.eqiad.example ipsec.down reason='T195365' peer='cp3*' expires=2h
    """
    named = {"reason": reason, "hold": hold, "expires": expires, "deadline": deadline, "wait": wait}
    scope = {"more": more, "peer": peer, "connection": connection, "asked": asked}
    return _order(verbs.down, {**named, **scope}, who, known, kwargs)


def up(
    deadline=None,
    peer=None,
    connection=None,
    who=None,
    wait=True,
    jitter=0,
    asked=None,
    known=False,
    **kwargs,
):
    """
    Lift the hold of :py:func:`down` and bring up every connection of this host, all at once.

    deadline
        seconds to wait until all are up, 0.1 to 3600 (default: 30)
    peer, connection
        as for :py:func:`status`
    who
        who wants it; by default the user of the Salt job
    wait
        ``False``: start them, and do not wait
    jitter
        first do nothing for a time by chance, of so many seconds at most, so that the hosts of a fleet do not
        all negotiate at once
    asked, known
        as for :py:func:`down`

    Returns a dictionary:

    ``ok``
        whether everything is up; with ``wait=False``, whether it could be started
    ``overruled``, ``ahead``
        the later command that counts instead; that ``asked`` lies ahead; or empty
    ``later``
        as for :py:func:`down`
    ``seconds``
        how long it took
    ``lifted``
        whether there was a hold
    ``held``
        since when, by whom and why other connections are still held; empty where none is
    ``connections``
        by name: ``peer``, ``family``, ``stage``, ``state`` as :py:func:`status` says it, ``up`` and
        ``reason``; for one that is not up, why: what charon or the peer said; ``cause`` of it, where the
        other end knows more: ``waits`` (the peer is to start it), ``refused`` (it took none of the proposals)

    CLI Example:

    .. code-block:: bash

        salt cp1001.eqiad.example ipsec.up peer='cp3*' deadline=60
    """
    named = {"deadline": deadline, "wait": wait, "jitter": jitter, "asked": asked}
    return _order(verbs.up, {**named, "peer": peer, "connection": connection}, who, known, kwargs)


def _order(verb, named, who, known, more):
    """Carry out an order; of a host that is asked for what it has on record, only where there is some."""
    if known and not strangers.recorded():
        return _answer(strangers.outside(), edition=EDITION)
    try:
        arguments.no_more(more)
        found = verb(who=who or _user(more), now=_now(), **named)
    except HostIPsecError as error:
        return _failed(error, edition=EDITION)
    return _answer(found.answer(), edition=EDITION)


def reauthenticate(peer=None, connection=None, deadline=None, at=None, **kwargs):
    """
    Authenticate established connections anew, with the certificates and options of now, without a gap.

    After a renewal, tunnels go on with what they were authenticated with. Each gets a new IKE SA beside the
    old one, which ends when the new one is up; where that does not come up, the old one stays.

    Without ``peer`` and ``connection``, this host does so with the connections that it starts: when all hosts
    are told at once, each pair does it once.

    peer
        only connections with peers whose minion id matches this shell pattern; ``*`` for all, also those that
        the peer starts
    connection
        only connections whose name matches this shell pattern
    deadline
        seconds to wait for the new IKE SAs, 0.1 to 3600 (default: 30)
    at
        the moment to begin, seconds since 1970, at most ten minutes ahead: given to all hosts by
        ``salt-run ipsec.reauthenticate``. Where the kernel does ESP, what this host sends on connections that
        the peer starts then keeps to the old SA until the peer has the new one, and no packet is lost

    Returns a dictionary:

    ``connections``
        by name: ``peer``, ``family``, ``old`` and ``new`` (ids of IKE SAs), and ``reason``, why it was not
        done, empty where it was
    ``answered``
        the same of what a peer began, with ``at``, and this host refused: ``reason`` says why

    CLI Example:

    .. code-block:: bash

        salt cp1001.eqiad.example ipsec.reauthenticate peer='cp3*'
        salt '*' ipsec.reauthenticate at=$(date +%s -d '+15 sec')
    """
    try:
        arguments.no_more(kwargs)
        return _answer(verbs.reauthenticate(deadline, peer, connection, at).answer())
    except HostIPsecError as error:
        return _failed(error)


def _user(kwargs):
    return f"{kwargs.get('__pub_user') or 'root'} (Salt)"


def verify(peer=None, family=None, capture=False, rekey=False, count=3, timeout=5):
    """
    Prove that what leaves for each peer, and what comes back, goes in ESP. Sends echo requests.

    Compares the packet counters of this host's SAs before and after, those of the kernel or, where charon
    does ESP itself, charon's. Needs the capability CAP_NET_RAW.

    peer
        only peers whose minion id or short name matches this shell pattern
    family
        ``v4`` or ``v6``; by default both
    capture
        also look at the packets that leave on the interface to the peer, never at those that come in: they
        are seen decrypted there
    rekey
        first rekey each CHILD SA, while echo requests are under way. The group of ``esp`` is used then for
        the first time: ends whose groups differ are found now, and not hours later
    count
        echo requests to each peer, 1 to 100
    timeout
        seconds to wait for the replies, and for the rekeying

    Returns a dictionary:

    ``connections``
        by name, each a dictionary:

        ``peer``, ``family``
            minion id of the peer, ``v4`` or ``v6``
        ``tunnel``
            state of the connection before the probes, as :py:func:`status` says it
        ``out``, ``in``
            ``encrypted``, ``clear`` or ``no reply``, for what left and for what came back
        ``ok``
            whether both are encrypted and all else that was asked for is proven
        ``reason``
            why it is not, sentences; empty where it is
        ``sent``, ``replies``
            echo requests and replies
        ``round_trip_ms``
            of the fastest reply, None without one
        ``packets_out``, ``packets_in``
            what the SAs carried meanwhile, the pair's other traffic with it
        ``captured``
            None, or what left on ``interface``: packets with ESP (``esp``) by SPI, in the clear
            (``clear``), our echo requests among them (``probes``), and those that passed unseen
            (``dropped``)
        ``rekeyed``
            None, or ``done``, ``proposal`` of the new SA, ``seconds`` it took, ``sent`` and ``lost`` echo
            requests
    ``skipped``
        by minion id, why a host that was asked for was not probed: no peer, in maintenance; not ``ok`` then
    ``plane``
        whose counters were read, ``kernel`` or ``charon``
    ``notes``
        of how many pairs it is the proof of this end alone, since Salt does not manage the other
    ``summary``
        as ``sentence``

    CLI Example:

    .. code-block:: bash

        salt '*cp*' ipsec.verify
        salt cp1001.eqiad.example ipsec.verify 'cp3*' family=v6 capture=True
        salt cp1001.eqiad.example ipsec.verify cp3001 rekey=True
    """
    try:
        return _answer(verification.of(_member(), peer, family, count, timeout, capture, rekey))
    except HostIPsecError as error:
        return _failed(error, skipped={}, plane=None, summary=str(error))


def loglevel(minutes=None, **kwargs):
    """
    What charon logs, by type; with types, more of it for a while, without a restart. See docs/logging.md.

    The usual levels come back after the time, at a restart of charon, or now, with ``minutes=0``.

    minutes
        how long, 0 to 1440 (default: 10)
    TYPE
        as ``ike=2``: a type of ``charondebug``, to a level from -1 to 4

    Returns a dictionary:

    ``levels``, ``usual``, ``raised``
        the level of each type now; those of ``charondebug`` (else 1); those that this changed
    ``until``
        when the usual ones come back, in UTC; None where nothing is changed

    CLI Example:

    .. code-block:: bash

        salt cp1001.eqiad.example ipsec.loglevel ike=2 net=1 minutes=30
    """
    levels = {name: level for name, level in kwargs.items() if not name.startswith("__")}
    try:
        return _answer(levels_of_log.change(levels, minutes, _now()))
    except HostIPsecError as error:
        return _failed(error, levels={}, usual={}, raised={}, until=None)


def previous():
    """
    What :py:func:`rollback` would go back to. Changes nothing.

    Returns a dictionary:

    ``mark``
        of the roll-out that made the last change, empty where it was a plain ``state.apply``; None where
        there is nothing to go back to
    ``when``
        the last change was made, in UTC
    ``connections``
        names of the connections of before
    ``running``
        whether a state run is under way on this host

    CLI Example:

    .. code-block:: bash

        salt '*' ipsec.previous
    """
    try:
        running = bool(calls.Calls(__salt__)["saltutil.is_running"]("state.*"))
        return {**rollback.kept(), "running": running, "edition": EDITION}
    except HostIPsecError as error:
        return _no_data(error)


def rollback_(mark=None, **kwargs):
    """
    Bring back the configuration that this host ran before its last change.

    The files of before are tried, swapped in and proven in charon as those of a ``state.apply`` are; only
    connections that differ are touched. A host that was no member before has no connections then. The pillar
    stays as it is: the next ``state.apply`` brings the change again, unless it is taken out there. What is
    held stays held. Going back is possible once; what was undone is not kept.

    mark
        of the roll-out whose change is undone; where the last change is another's, nothing is done. By
        default the last change, whatever made it

    Returns a dictionary:

    ``connections``
        by name ``peer`` and ``family`` of what is configured now, and ``held``: since when, by whom and why
        it is held down, empty where it is not
    ``changes``
        as the state's: connections ``added``, ``removed`` and ``changed``, settings

    CLI Example:

    .. code-block:: bash

        salt cp1001.eqiad.example ipsec.rollback
    """
    try:
        arguments.no_more(kwargs)
        host = Host(install=calls.Calls(__salt__).install)
        found = rollback.back(host, _now(), None if mark is None else str(mark))
    except HostIPsecError as error:
        return _failed(error, changes={})
    return _answer(found.answer())


def plan(stage="require"):
    """
    What ``state.apply ipsec`` would change on this host, by the same code. Changes nothing.

    The pillar is compiled for it as for a state run: what was edited since the last refresh counts.

    stage
        what a step of ``salt-run ipsec.rollout`` up to this stage would change: ``passive``, ``start`` or
        ``require``

    Returns a dictionary:

    ``standing``
        ``member``; ``enters`` (nothing of ours is here yet); ``leaves`` (has connections of ours and shall
        have none: ``state.apply`` refuses, ``ipsec.clean`` removes them); ``maintenance`` (what is here
        stays); ``outside``
    ``connections``
        what the pillar gives this host, by name, as :py:func:`connections` says it, and its ``family``
    ``former``
        what it was given last, by name: ``peer``, ``family``, ``stage``
    ``configured``
        number of connections in its files
    ``changes``
        by state (``ipsec.configured``, ``ipsec.certificate_reused``, ``ipsec.guarded``,
        ``ipsec.routes_present``) what it reports in test mode; of ``sysctl.present`` and ``pkg.installed``
        the names, old and new; those without changes are left out
    ``absent``, ``pillar``, ``authentication``
        addresses that it is given and lacks; what tells its pillar from another; as :py:func:`status` has it
    ``warnings``
        sentences
    ``lines``
        the same for people

    The exit status of ``salt-call`` is 0 where there is nothing to do, 3 where there is. A pillar that is
    wrong, and whatever else would make the state fail, gives an answer with ``error`` and exit status 2.

    CLI Example:

    .. code-block:: bash

        salt cp1001.eqiad.example ipsec.plan
    """
    try:
        arguments.one_of("stage", stage, STAGES[1:])
        data = run.compiled(_compiled_pillar)
        fleet, packages = None if data is None else _fleet(data), calls.Calls(__salt__)["pkg.list_pkgs"]
        found = {**hostplan.whole(fleet, __grains__, _now(), stage, packages), "pillar": digest.of(data)}
    except HostIPsecError as error:
        return _answer(hostplan.refused(error), 2)
    told, __context__["retcode"] = hostplan.answer(fleet, __grains__["id"], found)
    return told.as_dict()


def _fresh_member():
    return membership.of(_fleet(run.compiled(_compiled_pillar)), __grains__["id"])


def _fleet(data):
    found = addressed.fleet(data, calls.Calls(__salt__)["mine.get"], addressed.masters(__opts__))
    return addressed.of_host(found, run.given, data, __grains__["id"])


def _compiled_pillar():
    env, pillarenv = __opts__.get("saltenv"), __opts__.get("pillarenv")
    compiler = salt.pillar.get_pillar(__opts__, dict(__grains__), __opts__["id"], env, pillarenv=pillarenv)
    return compiler.compile_pillar()

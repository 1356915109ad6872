"""
What the SLS files of ``states/ipsec``, and ``salt-run ipsec.repair``, ask of this host. Operators ask module
``ipsec``.

The engine is the package ``hostipsec`` in ``_utils``; ``saltutil.sync_all`` brings both.
"""

try:
    from hostipsec import answer, calls
    from hostipsec.apply import run
    from hostipsec.emergency import restart as restarting
    from hostipsec.errors import HostIPsecError
    from hostipsec.pillar import addressed

    HAS_ENGINE = True
except ImportError:
    HAS_ENGINE = False

__virtualname__ = "ipsec_host"


def __virtual__():
    if not HAS_ENGINE:
        return False, "package hostipsec is not on this host; run: salt-call saltutil.sync_all"
    return __virtualname__


def facts():
    """
    What the SLS files need to know about this host, from pillar and grains.

    Returns a dictionary:

    ``member``
        whether there is something to set up here: the checks of ``ipsec.check`` pass and the host has peers
    ``systemd``
        whether systemd runs here
    ``scripts``
        whether, without it, an init runs scripts of /etc/init.d
    ``tools``, ``packages``, ``service``
        what to install before this host is looked at, what after that, and what to run, by release
    ``init_script``, ``init_script_diverted``
        the init script to put out of the way and where to, both None where systemd does not run
    ``sysctl``
        names and values
    ``certificates``
        the directory below which charon reads them
    ``vici``
        whether strongSwan's Python library is to be installed for Salt
    ``metrics``
        ``arguments`` of the program that serves them, none where nobody asks for any; and ``textfile``

    CLI Example:

    .. code-block:: bash

        salt cp1001.eqiad.example ipsec_host.facts
    """
    reading = run.of(
        __context__,
        __pillar__.get("ipsec"),
        __grains__["id"],
        calls.Calls(__salt__)["mine.get"],
        addressed.masters(__opts__),
    )
    return run.facts(reading, __grains__)


def restart(connection, ids, deadline=None):
    """
    End IKE SAs of a connection that somebody saw, and start it where this host is the one that starts it.

    For ``salt-run ipsec.repair``, which has looked at both ends. IKE SAs that have come up since, and a
    connection that is held, stay as they are.

    connection
        its name
    ids
        of its IKE SAs that are to be ended, as ``ike_ids`` of
        :py:func:`ipsec.status <salt.modules.ipsec.status>`; an empty list where it is only to be started
    deadline
        seconds until it is up, 0.1 to 3600 (default: 30)

    Returns a dictionary:

    ``ok``, ``sentence``
        whether it was done, and is up where this host starts it; a summary
    ``connections``
        by name: ``peer``, ``family``, ``initiator``, ``ended`` (ids of IKE SAs), ``up``, ``ok``, and
        ``reason``, why it was not done or is not up

    The exit status is 0 where ``ok``, else 1. Arguments that cannot be, and a charon that does not answer,
    give an answer with ``error`` and exit status 2.

    CLI Example:

    .. code-block:: bash

        salt cp1001.eqiad.example ipsec_host.restart cp3001_v4 '[12]'
    """
    try:
        found = restarting.ordered(connection, ids, deadline).answer()
        __context__["retcode"] = 0 if found.ok else 1
    except HostIPsecError as error:
        found, __context__["retcode"] = answer.failed(error), 2
    return found.as_dict()

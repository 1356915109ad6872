"""
What the SLS files of ``states/ipsec`` ask about this host. Operators ask module ``ipsec``.

The engine is the package ``hostipsec`` in ``_utils``; ``saltutil.sync_all`` brings both.
"""

try:
    from hostipsec import calls
    from hostipsec.apply import run
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
    ``packages``, ``service``
        what to install and to run, by release
    ``init_script``, ``init_script_diverted``
        the init script to put out of the way and where to, both None where systemd does not run
    ``sysctl``
        names and values
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

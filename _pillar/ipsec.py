"""
The fleet's pillar from files of the master: each minion gets its own part, and sees nothing of others.

.. code-block:: yaml

    ext_pillar:                            # in the master's configuration
      - ipsec: /srv/ipsec/fleet.sls        # or a list of files

A file is YAML with key ``ipsec``, as docs/pillar.md has it. The files are read once, and again when they have
changed. ``salt-run saltutil.sync_all`` brings this module and the package ``hostipsec``.
"""

import sys

import salt.loader
import salt.utils.network
import salt.utils.yaml

# What importing a package raises that is not there, or half synced: if this module raised it, Salt would give
# an empty pillar, and no error
NOT_WHOLE = (ImportError, AttributeError, NameError, OSError, SyntaxError, TypeError, ValueError)


def _parts():
    """Return the engine's module; None where the master has no engine.

    The master's processes run for long: where they have an engine of before the last sync, it is read anew.
    """
    try:
        return _imported()
    except NOT_WHOLE:
        for name in [one for one in sys.modules if one.partition(".")[0] == "hostipsec"]:
            del sys.modules[name]
    try:
        return _imported()
    except NOT_WHOLE:
        return None


def _imported():
    """Return the engine's module; of which edition it is counts from before it is read."""
    from hostipsec import edition

    if edition.is_stale():
        raise ImportError("an engine of before the last sync")
    from hostipsec.pillar import fleetfiles

    return fleetfiles


PARTS = _parts()  # here: Salt has its directories in Python's path only while it loads a module


def ext_pillar(minion_id, pillar, *files):
    """
    Return the part of a minion, below ``ipsec``; nothing for a minion that the fleet does not have.

    Where the files cannot be used the part says why: that minion's states of this package fail with these
    words and change nothing, and its other states go on.

    files
        paths of the fleet's pillar
    """
    if PARTS is None:
        raise RuntimeError(
            "package hostipsec is not on this master, or not whole; run: salt-run saltutil.sync_all"
        )
    found = PARTS.part(minion_id, files, salt.utils.yaml.safe_load, _mine, _addresses)
    if found and "ipsec" in pillar:
        raise RuntimeError("another pillar has 'ipsec', too: take it out of that one, or of ext_pillar")
    return {"ipsec": found} if found else {}


def _mine(*arguments):
    if __opts__.get("__role") == "minion":
        return __salt__["mine.get"](*arguments)
    return salt.loader.runner(__opts__)["mine.get"](*arguments)


def _addresses():
    return [*salt.utils.network.ip_addrs(), *salt.utils.network.ip_addrs6()]

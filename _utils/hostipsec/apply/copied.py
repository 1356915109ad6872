"""A host's certificate files brought to where charon reads them, and charon asked whether it has them."""

from __future__ import annotations

import contextlib

from ..certificates import copies
from ..charon import credentials
from ..emergency.host import Host
from ..errors import CertificateError, CharonError, HostIPsecError
from ..store import present
from ..system import files

STARTING = 5.0  # seconds for a charon that is just starting to answer
_POLL = 0.5


def apply(found: copies.Difference, expected: credentials.Expected, host: Host) -> tuple[str, ...]:
    """Do what a difference says, have the charon that runs take it up, and ask it for all; return warnings.

    The host's certificate itself comes with a connection, and is asked for when that is loaded. Raises
    HostIPsecError where charon has not a CA; the files are as they were then, and charon reads those again.
    """
    if found.changes:
        undo = copies.write(found)
        try:
            _take_up(expected, host, found.destination.root)
        except HostIPsecError as error:
            raise CertificateError(f"{error}; {_bring_back(undo, host, found.destination.root)}") from None
    return _unserved(expected, host, found.destination.root) if expected.crls else ()


def _unserved(expected: credentials.Expected, host: Host, place: str) -> tuple[str, ...]:
    """Return a sentence for each CRL that charon has not; nothing where none runs or answers."""
    if present.moves(host.by):
        return ()
    try:
        loaded = host.credentials() if host.observe_if_running() is not None else None
    except CharonError:
        return ()
    return tuple(
        f"charon has not the CRL of {issuer} that is in {place}, and refuses nobody by it: see "
        "its log; of CAs of one name it keeps the list that is numbered higher until it is restarted"
        for issuer in (credentials.unserved(expected, loaded) if loaded else ())
    )


def _take_up(expected: credentials.Expected, host: Host, place: str) -> None:
    deadline = host.clock() + STARTING
    while True:
        try:
            return _reread(expected, host, place)
        except CharonError:
            if host.clock() >= deadline:
                raise
        host.sleep(_POLL)


def _reread(expected: credentials.Expected, host: Host, place: str) -> None:
    if host.observe_if_running() is None or present.moves(host.by):  # then it reads another place
        return
    host.reread()
    lacking = credentials.lacking(expected, host.credentials(), in_use=False)
    if lacking:
        said = ", ".join(lacking[:5])
        raise CharonError(f"charon does not load {said} from {place}: see its log")


def _bring_back(undo: files.Undo, host: Host, place: str) -> str:
    try:
        undo.restore()
    except HostIPsecError as error:
        return f"bringing back the files of before failed as well: {error}"
    with contextlib.suppress(CharonError):  # one that does not answer reads them when it is started anew
        _reread(credentials.Expected(frozenset(), ()), host, place)
    return "the files are as they were"

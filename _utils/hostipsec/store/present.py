"""What this host is configured with at present: strongSwan's files as they are on disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Optional

from .. import paths
from ..errors import HostIPsecError
from ..model import Meant
from ..strongswan import parse, render
from ..strongswan.sections import Configuration
from ..system import files


def modes() -> dict[Path, int]:
    """Return the files that hold a host's configuration, with their modes."""
    here = paths.here
    return {here.conf: 0o644, here.secrets: 0o600, here.strongswan: 0o644, here.record: 0o644}


def texts() -> dict[Path, str]:
    """Return the contents of these files, of those that are there."""
    return of_contents({path: files.read(path) for path in modes()})


def of_contents(contents: Mapping[Path, Optional[bytes]]) -> dict[Path, str]:
    """Return contents as texts; a byte that is no text becomes a sign that says so."""
    found = {path: content for path, content in contents.items() if content is not None}
    return {path: content.decode("utf-8", "replace") for path, content in found.items()}


def value(contents: Mapping[Path, str]) -> Configuration:
    """Return what the contents of these files say."""
    here = paths.here
    return parse.configuration(*(contents.get(path) for path in (here.conf, here.secrets, here.strongswan)))


def names() -> frozenset[str]:
    """Return the names of the connections that an ipsec.conf of ours has."""
    return _ours().names


def certificate() -> str:
    """Return the file name of the certificate that an ipsec.conf of ours has; empty for none."""
    return next(iter(_ours().certificates), "")


def option(name: str) -> str:
    """Return an option that all connections of an ipsec.conf of ours have; empty for none."""
    text = (files.read(paths.here.conf) or b"").decode("utf-8", "replace")
    found = parse.configuration(parse.common(text))
    return found.defaults.get(name, "") if found.ours else ""


def meant() -> Meant:
    """Return what SAs are to be like by an ipsec.conf of ours; not known where none can be read.

    What is broken by its age is there by a word of the pillar only.
    """
    from ..strongswan import strength  # here: an emergency stop does without its tables

    try:
        text = (files.read(paths.here.conf) or b"").decode("utf-8", "replace")
    except (HostIPsecError, OSError):
        return Meant()
    found = parse.configuration(parse.common(text))
    esp, ike = (found.defaults.get(key, "") for key in ("esp", "ike"))
    return (
        Meant(found.defaults.get("type", ""), esp, ike, strength.words(esp, ike)) if found.ours else Meant()
    )


def kept() -> frozenset[str]:
    """Return the names of connections of others that an ipsec.conf of ours includes."""
    from ..strongswan import kept as language  # here: an emergency stop does without its tables

    try:
        conf = (files.read(paths.here.conf) or b"").decode("utf-8", "replace")
        text = (files.read(paths.here.kept_conf) or b"").decode("utf-8", "replace")
    except (HostIPsecError, OSError):
        return frozenset()
    included = render.INCLUDE in parse.common(conf).splitlines()
    return (
        frozenset(one.name for one in language.sections(text) if one.kind == "conn")
        if included
        else frozenset()
    )


def _ours() -> Configuration:
    conf = of_contents({paths.here.conf: files.read(paths.here.conf)})
    found = value(conf)
    return found if found.ours else Configuration()

"""What this host is configured with at present: strongSwan's files as they are on disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Optional

from .. import paths
from ..errors import HostIPsecError
from ..model import SWANCTL, Meant
from ..strongswan import parse, render
from ..strongswan.sections import Configuration
from ..system import backend, files


def modes() -> dict[Path, int]:
    """Return the files that hold a host's configuration, with their modes."""
    here = paths.here
    own = {here.conf: 0o644, here.secrets: 0o600, here.swanctl: 0o644}
    return {**own, here.strongswan: 0o644, here.record: 0o644}


def texts() -> dict[Path, str]:
    """Return the contents of those of these files that are there and count."""
    here = paths.here
    others = (here.conf, here.secrets) if backend.here() == SWANCTL else (here.swanctl,)
    return of_contents({path: files.read(path) for path in modes() if path not in others})


def conf() -> Path:
    """Return the file that has the connections of this host."""
    return paths.here.swanctl if backend.here() == SWANCTL else paths.here.conf


def moves(by: str) -> bool:
    """Say whether a host with connections of ours is to run by another back end than it does."""
    return backend.here() != by and bool(names())


def of_contents(contents: Mapping[Path, Optional[bytes]]) -> dict[Path, str]:
    """Return contents as texts; a byte that is no text becomes a sign that says so."""
    found = {path: content for path, content in contents.items() if content is not None}
    return {path: content.decode("utf-8", "replace") for path, content in found.items()}


def value(contents: Mapping[Path, str]) -> Configuration:
    """Return what the contents of these files say."""
    here = paths.here
    if here.swanctl in contents:
        from ..strongswan import swanctl  # here: where ipsec.conf counts, nobody waits for its tables

        return swanctl.configuration(contents[here.swanctl], contents.get(here.strongswan))
    return parse.configuration(*(contents.get(path) for path in (here.conf, here.secrets, here.strongswan)))


def connections() -> Configuration:
    """Return what the file that has the connections says, whoever wrote it."""
    content = files.read(conf())
    return value({conf(): content.decode("utf-8", "replace")} if content is not None else {})


def common() -> Configuration:
    """Return the same without the connections, which is quicker where there are many."""
    content = files.read(conf())
    text = (content or b"").decode("utf-8", "replace")
    return value({conf(): text}) if conf() == paths.here.swanctl else parse.configuration(parse.common(text))


def names() -> frozenset[str]:
    """Return the names of the connections that files of ours have."""
    return _ours().names


def certificate() -> str:
    """Return the file name of the certificate that files of ours have; empty for none."""
    return next(iter(_ours().certificates), "")


def option(name: str) -> str:
    """Return an option that all connections of ours have; empty for none."""
    found = common()
    return found.defaults.get(name, "") if found.ours else ""


def meant() -> Meant:
    """Return what SAs are to be like by files of ours; not known where none can be read.

    What is broken by its age is there by a word of the pillar only.
    """
    from ..strongswan import strength  # here: an emergency stop does without its tables

    try:
        found = common()
    except (HostIPsecError, OSError):
        return Meant()
    esp, ike = (found.defaults.get(key, "") for key in ("esp", "ike"))
    return (
        Meant(found.defaults.get("type", ""), esp, ike, strength.words(esp, ike)) if found.ours else Meant()
    )


def kept() -> frozenset[str]:
    """Return the names of connections of others that go on beside ours: included, or in files of theirs."""
    from ..strongswan import kept as language  # here: an emergency stop does without its tables

    if backend.here() == SWANCTL:
        return _beside_swanctl()
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


def _beside_swanctl() -> frozenset[str]:
    from ..strongswan import swanctl  # here: as above

    top = paths.here.swanctl_d
    found = [top / "swanctl.conf", *(top / "conf.d").glob("*.conf")]
    try:
        texts = [(files.read(path) or b"").decode("utf-8", "replace") for path in found if path != conf()]
    except (HostIPsecError, OSError):
        return frozenset()
    return frozenset().union(*(swanctl.configuration(text).names for text in texts))


def _ours() -> Configuration:
    found = connections()
    return found if found.ours else Configuration()

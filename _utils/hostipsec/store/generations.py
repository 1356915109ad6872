"""What is kept on a host of the times before: what it was, and what it ran. Below /var/lib/hostipsec.

==============  =======================================  =============================  ======================
kept            what it is                               whose promise needs it         written
==============  =======================================  =============================  ======================
before.json     packages, sysctls and Salt's vici        ``ipsec.clean`` takes away     once, by ipsec.install
                before this package came                 what came with this package
original/       files of strongSwan by another hand      ``ipsec.clean`` brings them    once, before the first
                                                         back                           change
previous/       the files before the last change; in     ``ipsec.rollback`` goes back   before each change;
                change.json its mark and time            to them, once                  one that fails has
                                                                                        what was kept put back
mesh.json       the record: connections of ours that     programs without the pillar    with each change
                charon may have (``store.record``)
swanctl.copy    swanctl's file, when it was whole last   after a start with a damaged   by the keeper
.conf                                                    one it is loaded again
moving          to which back end this host moves        a move that is cut off is      gone when it is there
                (``system.handover``)                    brought about or taken back
hold.json       who holds what down (``store.hold``)     down means down                by down and up
command.json    the last command of the fleet that was   of two commands the later      by down and up of the
                obeyed (``store.hold``)                  one counts                     fleet
failed.json     what a state of ours failed by           a metric: did the last         by states; gone with
                (``store.applied``)                      ``state.apply`` pass?          the next that passes
counters.json   totals of traffic and losses             counters of faces only grow    by the keeper, each
                (``health.totals``)                                                     minute and at its end
==============  =======================================  =============================  ======================

No more is kept of what ran well: a change that charon does not take is undone at once, and one that was cut
short is finished by the next ``state.apply``, which knows from the record what charon may still have.

A change that comes in steps (a roll-out goes through the stages) has one mark: what was there before the
first step is what one goes back to.
"""

from __future__ import annotations

import json
import re
import shutil
import stat
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Optional

from .. import paths
from ..errors import HostIPsecError
from ..model import IPSEC_CONF, SWANCTL
from ..strongswan.render import HEADER
from ..strongswan.sections import Configuration
from ..system import files, packages, service, sysctls
from . import present, record
from .hold import minute
from .record import Record

_GOOD = "good"  # of releases that kept what charon ran with as well, and never went back to it
_QUOTED = re.compile(r'"([^"]+)"')


# before.json ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Before:
    """Packages that were installed, live values of sysctls, and whether Salt's Python had vici.

    ``asked`` are the packages that this package asked for since. ``files`` are strongSwan's and all below
    /etc/ipsec.d, ``modes`` the mode and owners of the directories there, ``conf`` is the file of sysctls: not
    known where a release before has set the host up. Paths are below the root.
    """

    packages: frozenset[str]
    asked: frozenset[str]
    sysctl: Mapping[str, str] = field(default_factory=dict)
    vici: bool = True
    files: Optional[frozenset[str]] = None
    modes: Mapping[str, tuple[int, int, int]] = field(default_factory=dict)
    conf: Optional[str] = None
    ran: bool = False  # strongSwan, with what an operator had configured


def before() -> Optional[Before]:
    """Return what the host was; None where it was set up by a version that kept nothing."""
    content = files.read(paths.here.before)
    if content is None:
        return None
    try:
        kept = json.loads(content)
        packages_, asked = frozenset(kept["packages"]), frozenset(kept["asked"])
        there = frozenset(kept["files"]) if "files" in kept else None
        modes = {
            path: (int(mode), int(uid), int(gid)) for path, (mode, uid, gid) in kept.get("modes", {}).items()
        }
        known = (there, modes, kept.get("conf"), bool(kept.get("ran")))
        rest = (dict(kept["sysctl"]), bool(kept["vici"]), *known)
        return Before(packages_, asked, *rest)
    except (ValueError, KeyError, TypeError):
        raise HostIPsecError(
            f"{paths.here.before}: is damaged; expected what state ipsec wrote; remove it"
        ) from None


def lacks_before(asked: Collection[str], keys: Collection[str]) -> bool:
    """Say whether there is something to keep: nothing yet, or not of one of the packages or sysctls."""
    kept = before()
    if kept is None:
        return _foreign(files.read(present.conf()) or b"")
    return not ({*keys} <= {*kept.sysctl} and {*asked} <= kept.asked)


def keep_before(asked: Collection[str], keys: Collection[str], vici: bool) -> None:
    """Keep what the host is now; what is kept already stays as it is."""
    kept = before() or _now(vici)
    values = {key: value for key in keys if (value := sysctls.live(key)) is not None}
    content = {
        "packages": sorted(kept.packages),
        "asked": sorted({*kept.asked, *asked}),
        "sysctl": {**values, **kept.sysctl},
        "vici": kept.vici,
        **({} if kept.files is None else _as_plain(kept)),
    }
    files.ensure_directory(paths.here.state, 0o755)
    files.replace(paths.here.before, json.dumps(content, indent=1).encode(), 0o644)


def _now(vici: bool) -> Before:
    """Return what the host is."""
    root, tops = paths.here.root, (paths.here.ipsec_d, paths.here.swanctl_d)
    there = [path for top in tops if top.is_dir() for path in (top, *sorted(top.rglob("*"), key=str))]
    directories = [path for path in there if path.is_dir() and not path.is_symlink()]
    found = [*(path for path in _of_strongswan() if path.exists()), *there]
    conf = files.read(paths.here.sysctl)
    return Before(
        packages=packages.installed(),
        asked=frozenset(),
        vici=vici,
        files=frozenset(str(path.relative_to(root)) for path in found if path not in directories),
        modes={str(path.relative_to(root)): _mode(path) for path in directories if path.exists()},
        conf=None if conf is None else conf.decode("utf-8", "surrogateescape"),
        ran=any(service.pids(service.CHARON, by=each) for each in (IPSEC_CONF, SWANCTL)),
    )


def _mode(path: Path) -> tuple[int, int, int]:
    found = path.lstat()
    return stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid


def _as_plain(kept: Before) -> dict[str, object]:
    return {"files": sorted(kept.files or ()), "modes": dict(kept.modes), "conf": kept.conf, "ran": kept.ran}


def was_here() -> bool:
    """Say whether this host was ever a member: who never was keeps all that has a name like ours."""
    here = paths.here
    ours = any(path.exists() for path in (here.before, here.record, here.record_copy))
    return ours or not _foreign(files.read(present.conf()) or b"")


# original/ -----------------------------------------------------------------------------------


def keep_originals() -> None:
    """Keep the files that somebody else wrote; those that are kept already stay as they are."""
    for path in _of_strongswan():
        found, kept = files.look(path), paths.here.kept("original", path)
        if found is not None and _foreign(files.read(path) or b"") and files.look(kept) is None:
            files.ensure_directory(kept.parent, 0o700)
            files.Undo({str(kept): found}).restore()


def original_texts() -> tuple[str, str]:
    """Return ipsec.conf and ipsec.secrets by another hand, as they were kept; empty where there was none."""
    kept = (paths.here.kept("original", path) for path in (paths.here.conf, paths.here.secrets))
    conf, secrets = ((files.read(path) or b"").decode("utf-8", "surrogateescape") for path in kept)
    return conf, secrets


def added() -> tuple[str, str]:
    """Return what was added by hand to ipsec.conf and ipsec.secrets of ours."""
    conf, secrets = ((files.read(path) or b"").decode("utf-8", "surrogateescape") for path in _added())
    return conf, secrets


def _added() -> tuple[Path, Path]:
    return paths.here.state / "original/added.conf", paths.here.state / "original/added.secrets"


def keep_added(conf: str, secrets: str) -> None:
    """Keep what was added by hand, beside what was kept of it before."""
    files.ensure_directory(_added()[0].parent, 0o700)
    for path, old, new in zip(_added(), added(), (conf, secrets)):
        if new and new not in old:
            files.replace(path, (old + new).encode("utf-8", "surrogateescape"), 0o600)


def set_aside(found: Collection[Path]) -> files.Undo:
    """Keep files of others, and take them away."""
    entries = {path: files.look(path) for path in found}
    for path, entry in entries.items():
        kept = paths.here.kept("original", path)
        files.ensure_directory(kept.parent, 0o700)
        files.Undo({str(kept): entry}).restore()
    return files.swap(dict.fromkeys(found, (None, 0)))


def originals() -> dict[Path, Optional[files.Entry]]:
    """Return what each of our files was before this package; None for one that was not there."""
    ours = [path for path in _of_strongswan() if not _foreign(files.read(path) or b"")]
    kept, modes = before(), present.modes()
    found = {path: files.look(paths.here.kept("original", path)) for path in ours}
    for path, text in zip((paths.here.conf, paths.here.secrets), added()):
        one = found.get(path) or files.Entry(b"", modes[path], 0, 0)
        if path in found and text and one.link is None:
            found[path] = one._replace(content=one.content + text.encode("utf-8", "surrogateescape"))
    if kept is not None and kept.files is not None:
        return found
    # the release before kept the content alone
    return {path: one and one._replace(mode=modes[path]) for path, one in found.items()}


def without(by: str) -> dict[Path, files.Change]:
    """Return what our files of a back end become on a host that leaves it: what they were before us."""
    named = (paths.here.swanctl,) if by == SWANCTL else (paths.here.conf, paths.here.secrets)
    found = {path: one for path, one in originals().items() if path in named}
    return {path: (one.content, one.mode) if one else (None, 0) for path, one in found.items()}


def others() -> dict[Path, Optional[files.Entry]]:
    """Return what becomes of the rest: what was set aside comes back, what was added by hand as well."""
    here, modes = paths.here, present.modes()
    top = here.state / "original"
    there = [path for path in sorted(top.rglob("*")) if path not in _added() and not path.is_dir()]
    aside = {here.root / path.relative_to(top): files.look(path) for path in there}
    found = {path: one for path, one in aside.items() if path not in modes and files.look(path) is None}
    found.update({path: None for path in (here.kept_conf, here.kept_secrets) if files.look(path)})
    return found


def _of_strongswan() -> tuple[Path, ...]:
    return tuple(path for path in present.modes() if path != paths.here.record)


def _foreign(content: bytes) -> bool:
    return not content.startswith(HEADER.encode())


# previous/ -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Previous:
    """What a host ran before its last change. Nothing in it is secret: ipsec.secrets names the key's file."""

    mark: str  # of the change, empty for one that has none
    when: str  # it was changed
    contents: Mapping[Path, str] = field(repr=False)

    @property
    def configuration(self) -> Configuration:
        """Return what strongSwan's files said."""
        return present.value(self.contents)

    @property
    def record(self) -> Record:
        """Return the connections that were configured; none for a host that was no member."""
        text = self.contents.get(paths.here.record)
        return record.parse(text).only(self.configuration.names) if text else Record()


def keep_previous(contents: Mapping[Path, str], mark: str, now: datetime) -> Optional[files.Undo]:
    """Keep what was there before a change; return what was kept until then.

    The later steps of a change with a mark keep nothing, and return None.
    """
    if mark and _mark() == mark:
        return None
    kept = {path: contents[path].encode() if path in contents else None for path in present.modes()}
    files.ensure_directory(paths.here.change.parent, 0o700)
    for path in kept:
        files.ensure_directory(paths.here.kept("previous", path).parent, 0o700)
    return _swap_previous({"mark": mark, "when": minute(now)}, kept)


def _mark() -> Optional[str]:
    """Return the mark of what is kept; None for nothing, and for what is damaged."""
    try:
        change = _change()
    except HostIPsecError:
        return None
    return str(change.get("mark", "")) if change else None


def forget_previous() -> None:
    """Keep nothing any more: going back twice would go forward."""
    _swap_previous(None, dict.fromkeys(present.modes()))


def _swap_previous(
    change: Optional[Mapping[str, str]], contents: Mapping[Path, Optional[bytes]]
) -> files.Undo:
    kept = paths.here.kept
    changes: dict[Path, files.Change] = {
        kept("previous", path): (content, present.modes()[path]) for path, content in contents.items()
    }
    changes[paths.here.change] = (json.dumps(change).encode() if change else None, 0o600)
    return files.swap(changes)


def previous() -> Optional[Previous]:
    """Return what the host ran before; None where nothing is kept."""
    change = _change()
    if change is None:
        return None
    found = {path: files.read(paths.here.kept("previous", path)) for path in present.modes()}
    return Previous(str(change.get("mark", "")), str(change.get("when", "")), present.of_contents(found))


def _change() -> Optional[dict[str, object]]:
    content = files.read(paths.here.change)
    try:
        return None if content is None else dict(json.loads(content))
    except (ValueError, TypeError) as error:
        raise HostIPsecError(
            f"{paths.here.change} cannot be read ({error!r}); correct the pillar and apply it"
        ) from None


def named_by_us() -> frozenset[str]:
    """Return the certificates and keys that files of ours name, those in use and those of before."""
    found: set[str] = set()
    for kept in (lambda path: path, lambda path: paths.here.kept("previous", path)):
        contents = {path: files.read(kept(path)) for path in _of_strongswan()}
        texts = present.of_contents({path: one for path, one in contents.items() if not _foreign(one or b"")})
        found.update(_named(texts))
    return frozenset(found)


def _named(texts: Mapping[Path, str]) -> frozenset[str]:
    """Return the certificates and keys that the contents of files name."""
    value = present.value(texts)
    keys = _QUOTED.findall(texts.get(paths.here.secrets, ""))
    return frozenset((*value.certificates, *keys, *([value.secret.key] if value.secret else ())))


# All of them ---------------------------------------------------------------------------------


def files_in_use(by: str = "") -> frozenset[str]:
    """Return the certificates and keys that files of the host name: those in use, those of before.

    ``by`` is the back end whose files are meant, by default either.
    """
    found: set[str] = set()
    for kept in (lambda path: path, lambda path: paths.here.kept("previous", path)):
        texts = present.of_contents({path: files.read(kept(path)) for path in _of_strongswan()})
        if by in ("", present.value(texts).backend):
            found.update(_named(texts))
    return frozenset(found)


def sweep() -> None:
    """Remove what an earlier release kept and nobody needs."""
    shutil.rmtree(paths.here.state / _GOOD, ignore_errors=True)

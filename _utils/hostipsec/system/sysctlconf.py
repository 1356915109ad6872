"""Files of sysctls (``sysctl.conf(5)``, ``sysctl.d(5)``): what they set, and which one wins. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Optional

Read = Mapping[str, Optional[str]]  # what a file sets, by key
_SALTS = "#\n# Kernel sysctl configuration\n#\n"  # how Salt begins a new one (linux_sysctl.persist)


def settings(text: str) -> dict[str, str]:
    """Return what a file sets: ``{"net.core.xfrm_larval_drop": "1"}``."""
    found = (_setting(line) for line in text.splitlines())
    return {one[0]: one[1] for one in found if one}


def _setting(line: str) -> Optional[tuple[str, str]]:
    """Return key and value of a line; a key may be written with slashes, and be free to fail (``-``)."""
    bare = line.strip()
    key, is_set, value = bare.partition("=")
    if not is_set or bare[0] in "#;":
        return None
    return _name(key.strip().lstrip("-")), " ".join(value.split())


def of_systemd(text: str) -> dict[str, Optional[str]]:
    """Return what systemd sets by a file; None is a key that it leaves alone, whatever was said before.

    That is ``-key`` with no ``=``: meant to take a key out of a pattern, it takes a value's place as well.
    """
    found = (_setting_of_systemd(line) for line in text.splitlines())
    return {one[0]: one[1] for one in found if one}


def _setting_of_systemd(line: str) -> Optional[tuple[str, Optional[str]]]:
    bare = line.strip()
    key, is_set, value = bare.partition("=")
    dash = bare.startswith("-")
    if not (is_set or dash) or bare[0] in "#;":
        return None
    return _name(key[dash:].strip()), " ".join(value.split()) if is_set else None


def _name(key: str) -> str:
    slashes = 0 < key.find("/") < (key.find(".") % (len(key) + 1))
    return key.translate(_SWAPPED) if slashes else key


_SWAPPED = str.maketrans("./", "/.")  # written with slashes, a dot stands in a name (eth0.100)


def without(text: str, ours: Collection[str], before: Optional[str]) -> Optional[str]:
    """Return a file without our settings; None where it is not to be.

    ``before`` is what it was before us, where that is known: who has changed nothing since gets just that.
    """
    left, kept = _others(text, ours), _others(before or "", ours)
    if before is not None and left == kept:
        return before
    said = "".join(left) + "".join(_ours(before or "", ours))
    return None if said in ("", _SALTS) else said


def _others(text: str, ours: Collection[str]) -> list[str]:
    lines = text.splitlines(keepends=True)
    return [line for line in lines if (_setting(line) or ("",))[0] not in ours]


def _ours(text: str, ours: Collection[str]) -> Iterator[str]:
    return (line for line in text.splitlines(keepends=True) if (_setting(line) or ("",))[0] in ours)


def overruled(
    later: Sequence[tuple[str, Read]], wanted: Mapping[str, str]
) -> Mapping[str, tuple[str, Optional[str]]]:
    """Return which of the settings another value wins over at the next boot: key -> (path, value).

    ``later`` are path and content of the files that are read after ours, in that order: the last one counts.
    A pattern (``net.core.*``) sets no key that a file sets by its name, as ours does.
    """
    last = {key: (path, value) for path, read in later for key, value in read.items()}
    return {
        key: last[key]
        for key in wanted
        if last.get(key, ("", wanted[key]))[1] != " ".join(wanted[key].split())
    }

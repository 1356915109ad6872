"""What a rule says of the connections of its pairs, beside who pairs up and at which stage.

The same holds at both ends of a pair, over what the pillar says of all connections. The rule that gives a
pair its stage gives it these as well, all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple, Optional

from ..model import Options, Settings
from ..strongswan import catalog, exceptions, options, sections, shared
from ..strongswan.kinds import shown
from . import schema
from . import settings as every
from .reader import Reader

_ENCAPSULATION = dict(zip(schema.ENCAPSULATIONS, (("forceencaps", "yes"),)))  # word -> option of ipsec.conf
_UNFIT = {"type": "tunnel", "compress": "yes"}
_AS_THERE = tuple(key for key in shared.OF_A_RULE if key != "forceencaps")


class Terms(NamedTuple):
    """What is said; empty for what is as for all connections."""

    options: Options = ()
    mtu: Optional[int] = None
    clear: tuple[str, ...] = ()
    only: tuple[str, ...] = ()


def read(reader: Reader, rule: Mapping[str, object], path: str, settings: Settings) -> Terms:
    """Return what a rule at a path of the pillar says."""
    found = Terms(
        options=_options(reader, rule, path, settings),
        mtu=every.mtu(reader, rule.get("mtu"), f"{path}:mtu"),
        clear=_packets(reader, rule.get("clear"), f"{path}:clear", _is_port, exceptions.ALLOWED),
        only=_packets(reader, rule.get("only"), f"{path}:only", _is_only, exceptions.ALLOWED_ONLY),
    )
    for beside in _unfit(found, settings) if found.only else ():
        reader.wrong(f"{path}:only", f"found {', '.join(found.only)} beside {beside}", "one of the two")
    return found


def instead(key: str) -> str:
    """Say what a rule has in place of an option of ``connection``; empty for what is none."""
    main = catalog.SYNONYMS.get(key, key)
    if main == "forceencaps" or key == "encap":
        return "'encapsulation: udp'"
    if main in _AS_THERE:
        return repr(main)
    known = main in options.CONNECTION and main not in {*shared.REFUSED, *catalog.COMPUTED}
    return f"{main!r} below 'connection', for all pairs" if known else options.former(key)


def _packets(
    reader: Reader, value: object, path: str, fits: Callable[[object], bool], allowed: str
) -> tuple[str, ...]:
    given = [value] if isinstance(value, str) else reader.items(value, path)
    for one in given:
        if not fits(one):
            reader.wrong(path, f"found {shown(one)}", allowed)
    return tuple(sorted({one for one in given if isinstance(one, str) and fits(one)}))


def _is_port(text: object) -> bool:
    return exceptions.parse(text) is not None


def _is_only(text: object) -> bool:
    return exceptions.may_be_only(text) and text not in exceptions.IKE


def _unfit(found: Terms, settings: Settings) -> Iterator[str]:
    """Yield what cannot stand beside ``only``, whose policies are for ESP in transport mode."""
    options = {**sections.common_options(settings), **dict(found.options)}
    if found.clear:
        yield f"clear: {', '.join(found.clear)}"
    yield from (f"{key}: {word}" for key, word in _UNFIT.items() if options.get(key) == word)


def _options(reader: Reader, rule: Mapping[str, object], path: str, settings: Settings) -> Options:
    given = {key: rule[key] for key in _AS_THERE if key in rule}
    if "encapsulation" in rule:
        word = reader.one_of(rule["encapsulation"], f"{path}:encapsulation", schema.ENCAPSULATIONS)
        given.update([_ENCAPSULATION[word]])
    under = sections.common_options(settings)
    return tuple(sorted(every.options_of(reader, given, path, settings.weak, under).items()))

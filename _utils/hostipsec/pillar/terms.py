"""What a rule says of the connections of its pairs, beside who pairs up and at which stage.

The same holds at both ends of a pair, over what the pillar says of all connections. The rule that gives a
pair its stage gives it these as well, all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Optional

from ..model import Options, Settings
from ..strongswan import catalog, exceptions, options, sections, shared
from ..strongswan.kinds import shown
from . import schema
from . import settings as every
from .reader import Reader

_ENCAPSULATION = dict(zip(schema.ENCAPSULATIONS, (("forceencaps", "yes"),)))  # word -> option of ipsec.conf
_AS_THERE = tuple(key for key in shared.OF_A_RULE if key != "forceencaps")


class Terms(NamedTuple):
    """What is said; empty for what is as for all connections."""

    options: Options = ()
    mtu: Optional[int] = None
    clear: tuple[str, ...] = ()


def read(reader: Reader, rule: Mapping[str, object], path: str, settings: Settings) -> Terms:
    """Return what a rule at a path of the pillar says."""
    return Terms(
        options=_options(reader, rule, path, settings),
        mtu=every.mtu(reader, rule.get("mtu"), f"{path}:mtu"),
        clear=_clear(reader, rule.get("clear"), f"{path}:clear"),
    )


def instead(key: str) -> str:
    """Say what a rule has in place of an option of ``connection``; empty for what is none."""
    main = catalog.SYNONYMS.get(key, key)
    if main == "forceencaps" or key == "encap":
        return "'encapsulation: udp'"
    if main in _AS_THERE:
        return repr(main)
    known = main in options.CONNECTION and main not in {*shared.REFUSED, *catalog.COMPUTED}
    return f"{main!r} below 'connection', for all pairs" if known else catalog.FORMER.get(key, "")


def _clear(reader: Reader, value: object, path: str) -> tuple[str, ...]:
    given = [value] if isinstance(value, str) else reader.items(value, path)
    for one in given:
        if exceptions.parse(one) is None:
            reader.wrong(path, f"found {shown(one)}", exceptions.ALLOWED)
    return tuple(sorted({one for one in given if isinstance(one, str) and exceptions.parse(one)}))


def _options(reader: Reader, rule: Mapping[str, object], path: str, settings: Settings) -> Options:
    given = {key: rule[key] for key in _AS_THERE if key in rule}
    if "encapsulation" in rule:
        word = reader.one_of(rule["encapsulation"], f"{path}:encapsulation", schema.ENCAPSULATIONS)
        given.update([_ENCAPSULATION[word]])
    under = sections.common_options(settings)
    return tuple(sorted(every.options_of(reader, given, path, settings.weak, under).items()))

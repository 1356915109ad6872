"""The files of a pillar as one, as Salt merges them: mappings recursively, of all else the last counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from ..errors import PillarError, Problem
from ..strongswan import sections
from . import lines, rendered
from .lines import TOP, Finding, Place, Source

_PLAIN = (["yaml"], ["json"])  # what stands behind `#!`, and needs no Jinja
_JINJA = (["jinja", "yaml"], ["jinja", "json"])
_ELSEWHERE = "salt-run ipsec.check looks at what Salt makes of it"


def read(file: str, text: str, loader: Any = None) -> Source:
    """Return what one file says; ``loader`` is Jinja's, for what the file imports."""
    renderers = _renderers(text)
    if renderers not in (*_PLAIN, *_JINJA):
        return unread(file, 1, f"found renderer '#!{'|'.join(renderers)}', which only Salt has", _ELSEWHERE)
    if renderers in _PLAIN:
        return _checked(lines.read(text, file), file)
    try:
        plain = rendered.render(text, loader)
    except rendered.JinjaError as error:
        return unread(
            file, error.line, f"Jinja: {error}", f"what Jinja has by itself; of what Salt adds, {_ELSEWHERE}"
        )
    return _checked(lines.read(plain.text, file, plain.origin), file)


def _renderers(text: str) -> list[str]:
    first = text.partition("\n")[0].strip()
    return [one.strip() for one in first[2:].split("|")] if first.startswith("#!") else _JINJA[0]


def unread(file: str, line: int, found: str, allowed: str) -> Source:
    """Return what is left of a file that cannot be read."""
    return Source(None, {}, (Finding(Problem(TOP, found, allowed), Place(file, line)),))


def _checked(source: Source, file: str) -> Source:
    if source.errors or source.data is None:
        return source
    if not isinstance(source.data, Mapping):
        return unread(file, 1, "found no mapping", f"key '{TOP}' with the fleet below it")
    others = [key for key in ("include", "exclude") if key in source.data]
    odd = (Problem(key, "is not followed here", "each file of it on the command line") for key in others)
    told = (lines.placed(one, source.places) for one in odd)
    return source._replace(warnings=(*source.warnings, *told))


def merge(sources: Iterable[Source]) -> Source:
    """Return all files as one; it is odd where a file says another thing than one before it.

    Nothing of it is returned where one cannot be read.
    """
    sources = [*sources]
    data: dict[Any, Any] = {}
    places: dict[str, Place] = {}
    errors: list[Finding] = []
    warnings: list[Finding] = []
    for source in sources:
        below = source.data if isinstance(source.data, Mapping) else {}
        errors += source.errors
        warnings += [*source.warnings, *_replaced(data, below, "", places, source.places)]
        data = sections.merged(data, below)
        places.update(source.places)
    # what a file would say that cannot be read is missing, and no fault of the others
    whole = not any(source.errors and source.data is None for source in sources)
    return Source(data if whole else None, places, tuple(errors), tuple(warnings))


def joined(sources: Mapping[str, Source], join: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> Source:
    """Return the files of our own ext_pillar, by name, as one; ``join`` is how that joins what they say."""
    alone = {file: _alone(file, source) for file, source in sources.items()}
    errors = tuple(one for source in alone.values() for one in source.errors)
    if errors:
        return Source(None, {}, errors)
    places = _joined_places(alone.values())
    try:
        data = join({file: source.data[TOP] for file, source in alone.items()})
        odd = tuple(one for source in alone.values() for one in source.warnings)
        return Source({TOP: data}, places, warnings=odd)
    except PillarError as error:
        return Source(None, places, tuple(lines.placed(one, places) for one in error.problems))


def _alone(file: str, source: Source) -> Source:
    data = source.data
    if source.errors or (isinstance(data, Mapping) and {*data} == {TOP} and isinstance(data[TOP], Mapping)):
        return source
    return unread(file, 1, "found no mapping, or further keys", f"key '{TOP}' alone, a mapping")


def _joined_places(sources: Iterable[Source]) -> dict[str, Place]:
    """Return where all keys stand; the items of a list come after those of the files before."""
    places: dict[str, Place] = {}
    before: Counter[str] = Counter()
    for source in sources:
        for path, place in source.places.items():
            parts = path.split(":", 3)
            if len(parts) > 2 and parts[1] in before and parts[2].isdecimal():
                parts[2] = str(int(parts[2]) + before[parts[1]])
            places[":".join(parts)] = place
        below = source.data[TOP] if isinstance(source.data, Mapping) else {}
        before.update({key: len(value) for key, value in below.items() if isinstance(value, list)})
    return places


def _replaced(
    under: Mapping[Any, Any],
    over: Mapping[Any, Any],
    path: str,
    before: Mapping[str, Place],
    now: Mapping[str, Place],
) -> Iterator[Finding]:
    """Yield what a later file takes away from one before: only of that which is ours."""
    for key in over:
        here = f"{path}:{key}" if path else str(key)
        if key not in under or here.partition(":")[0] != TOP or under[key] == over[key]:
            continue
        if isinstance(under[key], Mapping) and isinstance(over[key], Mapping):
            yield from _replaced(under[key], over[key], here, before, now)
        else:
            found = f"found it at {before.get(here, Place('another file'))} as well, which does not count"
            yield Finding(Problem(here, found, "each key in one file"), now.get(here, Place("")))

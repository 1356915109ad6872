"""Why a pillar does not render, in a sentence: Salt's own answer is to see the log, which has a traceback."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Optional

_SEE_LOG = "Please see master log for details."


def said(errors: Sequence[object], raised: Sequence[BaseException]) -> str:
    """Say it: ``errors`` are those of the compiled pillar, ``raised`` what was raised meanwhile."""
    told = [" ".join(str(one).replace(_SEE_LOG, "").split()) for one in errors]
    places = list(dict.fromkeys(filter(None, map(place, raised))))
    return "; ".join([*told, *places]).replace(".;", ":", 1)


def place(error: BaseException) -> str:
    """Return ``line 4, column 6: did not find expected ',' or '}'``, as YAML or Jinja tells it."""
    for one in _chain(error):
        mark = getattr(one, "problem_mark", None)
        if mark is not None:
            return f"line {mark.line + 1}, column {mark.column + 1}: {_words(getattr(one, 'problem', one))}"
    for one in _chain(error):
        line = getattr(one, "line_num", None) or getattr(one, "lineno", None)
        if line:
            return f"line {line}: {_words(getattr(one, 'error', one))}"
    return _words(error)


def _words(error: object) -> str:
    return str(error).partition("; line ")[0].strip().partition("\n")[0]


def _chain(error: Optional[BaseException]) -> Iterator[BaseException]:
    """Yield an error, what caused it, and so on."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__

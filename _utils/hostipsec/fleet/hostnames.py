"""Many names in few words: ``cp[6001-6016].drmrs.example``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_NUMBERED = re.compile(r"([^.]*?)([0-9]{1,18})(\..*)?\Z", re.DOTALL)
_MOST = 6


def few(names: Sequence[str]) -> str:
    """Return names with commas, the first of them where they are many."""
    more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
    return ", ".join(names[:_MOST]) + more


def ranges(names: Iterable[str]) -> str:
    """Return host names, numbered ones as ranges; the first of them where they are many."""
    groups: dict[tuple[str, str, int], set[str]] = {}
    single: set[str] = set()
    for name in names:
        match = _NUMBERED.match(name)
        if match is None:
            single.add(name)
        else:
            before, digits, after = match.groups(default="")
            groups.setdefault((before, after, len(digits)), set()).add(digits)
    found = [(name, "", [[""]]) for name in single]
    found += [(before, after, _runs(sorted(numbers))) for (before, after, _), numbers in groups.items()]
    texts, room, left = [], _MOST, 0
    for before, after, runs in sorted(found):
        if shown := runs[:room]:
            texts.append(f"{before}{_bracketed(shown)}{after}")
        left += sum(map(_length, runs[room:]))
        room -= len(shown)
    return ", ".join(texts) + (f" and {left} more" if left else "")


def _runs(numbers: Sequence[str]) -> list[list[str]]:
    """Return the first and the last of numbers that follow each other: ``[["01", "03"], ["07"]]``."""
    runs: list[list[str]] = []
    for number in numbers:
        if runs and int(number) == int(runs[-1][-1]) + 1:
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    return runs


def _length(run: Sequence[str]) -> int:
    return int(run[-1] or 0) - int(run[0] or 0) + 1


def _bracketed(runs: Sequence[Sequence[str]]) -> str:
    """Return ``[01-03,07]``; a single number stands without brackets."""
    text = ",".join("-".join(run) for run in runs)
    return text if len(runs) == len(runs[0]) == 1 else f"[{text}]"

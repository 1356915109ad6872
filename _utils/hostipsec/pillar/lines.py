"""The YAML of a pillar file as data, and the line of each of its keys. Pure.

Reads as Salt's loader does: a key that stands twice is an error, a date is a text, a number may begin with
zeros.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import yaml

from ..errors import Problem
from ..strongswan.kinds import word

TOP = "ipsec"
_ALLOWED = "a file that YAML can read"
_QUOTED = "a plain decimal number; or, where the text is meant, in quotes"
_DECIMAL = re.compile(r"-?(0|[1-9][0-9]*)\Z")
_MERGE = "tag:yaml.org,2002:merge"
_MOST, _DEEPEST = 1_000_000, 30  # keys that get a line: aliases of aliases would have them without end


class Place(NamedTuple):
    """Where something stands; line 0: nobody knows, the file alone."""

    file: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


class Finding(NamedTuple):
    """A problem of the pillar, and where it stands."""

    problem: Problem
    place: Place

    def as_dict(self) -> dict[str, object]:
        """Return it as plain data."""
        return {**self.problem._asdict(), **self.place._asdict()}


class Source(NamedTuple):
    """What a file says, the place of each key (``ipsec:hosts:cp1:ipv4``), what is wrong and what is odd."""

    data: Any
    places: Mapping[str, Place]
    errors: tuple[Finding, ...] = ()
    warnings: tuple[Finding, ...] = ()


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Salt's way to read scalars."""

    def construct_scalar(self, node: Any) -> Any:
        text = node.value
        if node.tag == "tag:yaml.org,2002:int" and text.startswith("0") and not text.startswith(("0b", "0x")):
            node.value = text.lstrip("0") or "0"
        return super().construct_scalar(node)


_Loader.add_constructor("tag:yaml.org,2002:timestamp", _Loader.construct_scalar)


def read(text: str, file: str, origin: Sequence[int] = ()) -> Source:
    """Return what a file says.

    ``origin`` has for each line of the text the line of the file that it was made from, where those differ.
    """

    def place(line: int) -> Place:
        return Place(file, origin[line] if line < len(origin) else line + 1)

    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        odd = tuple(_rewritten(node, place))  # while numbers are as they were written
        twice = tuple(_twice(loader, node, place))
        data = None if node is None else loader.construct_document(node)
        return Source(data, dict(_places(loader, node, place)), twice, odd)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = place(mark.line) if mark else Place(file)
        return Source(None, {}, (Finding(Problem(TOP, _said(error, mark, text), _ALLOWED), where),))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        said = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        return Source(None, {}, (Finding(Problem(TOP, " ".join(said.split()), _ALLOWED), Place(file)),))


def _said(error: yaml.MarkedYAMLError, mark: Any, text: str) -> str:
    problem = str(error.problem or error.context)
    said = f"{error.context} {problem}" if problem.startswith("but ") else problem
    if mark and "start any token" in said and text[mark.index : mark.index + 1] == "\t":
        said = "found a tab, and YAML takes blanks alone"
    return f"{said} (column {mark.column + 1})" if mark else said


def _rewritten(top: Any, place: Any) -> Iterator[Finding]:
    """Find whole numbers that YAML makes others of: ``01``, ``0x10``, ``1_000``, ``1:20``."""
    for path, node in _nodes(top, lambda key: str(key.value)):
        whole = node.tag == "tag:yaml.org,2002:int" and f"{path}:".startswith(f"{TOP}:")
        if whole and not _DECIMAL.match(node.value):
            problem = Problem(path, f"found {node.value}, of which YAML makes another number", _QUOTED)
            yield Finding(problem, place(node.start_mark.line))


def _nodes(top: Any, name: Callable[[Any], str]) -> Iterator[tuple[str, Any]]:
    """Yield each node once, keys too, with the path of what it stands at; ``name`` tells that of a key."""
    seen: set[int] = set()
    todo = [] if top is None else [("", top)]
    while todo:
        path, node = todo.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        yield path, node
        if isinstance(node, yaml.SequenceNode):
            items = enumerate(node.value)  # a word of a list is told by the key of the list
            todo += [
                (path if isinstance(one, yaml.ScalarNode) else _below(path, str(index)), one)
                for index, one in items
            ]
        elif isinstance(node, yaml.MappingNode):
            below = ((_below(path, name(key)), key, value) for key, value in node.value)
            todo += [(here, one) for here, key, value in below for one in (key, value)]


def _twice(loader: Any, top: Any, place: Any) -> Iterator[Finding]:
    """Find keys that stand twice in one mapping: Salt refuses them, and YAML itself takes the last."""

    def name(key: Any) -> str:
        return str(key.value) if key.tag == _MERGE else word(_name(loader, key))

    for path, node in _nodes(top, name):
        lines: dict[object, int] = {}
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if key.tag == _MERGE:
                continue
            known, line = _name(loader, key), key.start_mark.line
            if known in lines:
                first = place(lines[known]).line
                found = f"found it in line {first}, and again in line {place(line).line}"
                yield Finding(Problem(_below(path, name(key)), found, "each key once"), place(line))
            lines.setdefault(known, line)


def _places(loader: Any, top: Any, place: Any) -> Iterator[tuple[str, Place]]:
    """Yield the path of each key and item, and where it stands, after the merge keys were resolved."""
    left = _MOST
    todo = [("", top)]
    while todo and left > 0:
        path, node = todo.pop()
        if path.count(":") > _DEEPEST:
            continue
        if isinstance(node, yaml.SequenceNode):
            below = [(str(index), one, one) for index, one in enumerate(node.value)]
        elif isinstance(node, yaml.MappingNode):
            below = [(word(_name(loader, key)), key, value) for key, value in node.value]
        else:
            continue
        for name, mark, value in below:
            left -= 1
            yield _below(path, name), place(mark.start_mark.line)
            todo.append((_below(path, name), value))


def _name(loader: Any, key: Any) -> object:
    """Return a key as a value; one that is a mapping or a list is none."""
    return loader.construct_object(key, deep=True) if isinstance(key, yaml.ScalarNode) else id(key)


def _below(path: str, name: str) -> str:
    return f"{path}:{name}" if path else name


def placed(problem: Problem, places: Mapping[str, Place]) -> Finding:
    """Return a problem with its place: that of its key, or of the nearest above which is there."""
    path = problem.path
    while path and path not in places:
        path = path.rpartition(":")[0]
    return Finding(problem, places.get(path, Place("")))

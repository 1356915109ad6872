"""A pillar file with Jinja in it, as Salt renders it where nothing of Salt's own is asked for. Pure.

Jinja says nothing of where a line comes from. So a file is rendered twice: as it is, and with the number of
its line before each line of text. Where both are the same but for the numbers, they say it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import jinja2
from jinja2 import ext, lexer, sandbox

from ..errors import HostIPsecError

_MARK = re.compile("\ue000([0-9]+)\ue001")  # letters of no alphabet
_EXTENSIONS = ("jinja2.ext.do", "jinja2.ext.loopcontrols")


class Rendered(NamedTuple):
    """A text, and for each of its lines that of the file; none where that is not known."""

    text: str
    origin: tuple[int, ...] = ()


class JinjaError(HostIPsecError):
    """Jinja that cannot be rendered here; ``line`` is 0 where nobody knows it."""

    def __init__(self, said: str, line: int) -> None:
        super().__init__(said)
        self.line = line


def render(text: str, loader: Any) -> Rendered:
    """Return what the text renders to; ``loader`` is Jinja's, for what it imports. Raises JinjaError."""
    if not any(sign in text for sign in ("{{", "{%", "{#")):
        return Rendered(text)
    plain = _rendered(text, loader, _EXTENSIONS)
    marked = _rendered(text, loader, (*_EXTENSIONS, _Numbered))
    same = _MARK.sub("", marked) == plain
    return Rendered(plain, tuple(_origin(marked.split("\n"))) if same else ())


def _rendered(text: str, loader: Any, extensions: Iterable[Any]) -> str:
    world = sandbox.SandboxedEnvironment(
        loader=loader, undefined=jinja2.StrictUndefined, extensions=[*extensions], keep_trailing_newline=True
    )
    try:
        return world.from_string(text).render()
    except jinja2.TemplateSyntaxError as error:
        raise JinjaError(str(error.message), error.lineno) from error
    except Exception as error:  # a template raises whatever Python does
        raise JinjaError(_said(error), _line(error)) from error


def _said(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _line(error: Exception) -> int:
    """Return the line of the file: Jinja's frames have the lines of the template."""
    found, here = 0, error.__traceback__
    while here is not None:
        found = here.tb_lineno if here.tb_frame.f_code.co_filename == "<template>" else found
        here = here.tb_next
    return found


def _origin(marked: Iterable[str]) -> Iterator[int]:
    last = 1
    for line in marked:
        numbers = _MARK.findall(line)
        last = int(numbers[0]) if numbers else last
        yield last
        last = int(numbers[-1]) if numbers else last


class _Numbered(ext.Extension):
    """Puts before each line of text its number."""

    def filter_stream(self, stream: Any) -> Iterator[Any]:
        """Yield the tokens, those of text with numbers in it."""
        for token in stream:
            if token.type != "data" or stream.name:  # of a file that this one includes
                yield token
                continue
            lines = enumerate(str(token.value).split("\n"), token.lineno)
            told = (f"\ue000{number}\ue001{line}" for number, line in lines)
            yield lexer.Token(token.lineno, "data", "\n".join(told))

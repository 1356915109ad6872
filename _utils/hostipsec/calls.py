"""Calls into Salt: whatever one of its functions raises becomes a sentence that says what to type."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from .errors import HostIPsecError


class Calls:
    """The functions of Salt's modules by name, as ``__salt__`` has them; ``shell`` calls them by hand."""

    def __init__(self, functions: Mapping[str, Callable[..., Any]], shell: str = "salt-call") -> None:
        self._functions, self._shell = functions, shell

    def __getitem__(self, name: str) -> Callable[..., Any]:
        """Return a function that raises nothing but a HostIPsecError."""

        def call(*arguments: object, **named: object) -> Any:
            try:
                return self._functions[name](*arguments, **named)
            except HostIPsecError:
                raise
            except Exception as error:  # there is no end of what Salt's modules raise
                typed = _typed(self._shell, name, arguments, str(error))
                raise HostIPsecError(f"{name}: {words(error)}; type: {typed}") from error

        return call

    def install(self, packages: Collection[str]) -> None:
        """Install packages; raises a HostIPsecError where that fails."""
        self["pkg.install"](pkgs=list(packages))


def words(error: Exception) -> str:
    """Return the first line of an error; of one of Python's own with its kind, which says what it is."""
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    kind = type(error).__name__
    return (
        text if text and type(error).__module__.startswith("salt.") else f"{kind}: {text}" if text else kind
    )


def _typed(shell: str, name: str, arguments: tuple[object, ...], text: str) -> str:
    if "masked" in text and arguments:
        return f"systemctl unmask {arguments[0]}"
    return " ".join((shell, "-l debug", name, *map(str, arguments)))

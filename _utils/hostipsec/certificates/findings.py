"""What is wrong with a certificate, a key, a CA or a list, as a value. Pure."""

from __future__ import annotations

from dataclasses import dataclass

ERROR, WARNING = "error", "warning"


@dataclass(frozen=True)
class Finding:
    """One thing wrong: what was found (with its path), what was expected, what to do."""

    severity: str  # ERROR or WARNING
    code: str
    found: str
    expected: str
    action: str

    def __str__(self) -> str:
        return f"{self.found}; expected {self.expected}; {self.action}"


def an_error(code: str, *, found: str, expected: str, action: str) -> Finding:
    """Return what keeps a host from its tunnels."""
    return Finding(ERROR, code, found, expected, action)


def a_warning(code: str, *, found: str, expected: str, action: str) -> Finding:
    """Return what somebody has to know."""
    return Finding(WARNING, code, found, expected, action)

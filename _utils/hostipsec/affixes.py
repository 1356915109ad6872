"""What a text begins or ends with, taken off: Python 3.8 has no ``str.removeprefix`` and ``removesuffix``."""

from __future__ import annotations


def without_prefix(text: str, prefix: str) -> str:
    """Return a text without what it may begin with: of ``child.mode`` without ``child.``, ``mode``."""
    return text[len(prefix) :] if text.startswith(prefix) else text


def without_suffix(text: str, suffix: str) -> str:
    """Return a text without what it may end with: of ``aes256!`` without ``!``, ``aes256``."""
    return text[: len(text) - len(suffix)] if text.endswith(suffix) else text

"""A file of ours with other values of ``auto=``: what a hold changes. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import ConfigError
from ..model import SWANCTL
from . import parse, swanctl
from .render import HEADER


def changed(text: str, autos: Mapping[str, str], backend: str) -> str:
    """Return what holds the connections, by either back end, with other values of ``auto=``, by name.

    Of an ipsec.conf every other line stays as it is, whatever it is. A file of swanctl's is written anew: in
    it what is held stands in another section. Raises ConfigError for one of which there is only a part:
    swanctl loads nothing of it, and what is missing would be lost.
    """
    if backend != SWANCTL:
        return parse.with_autos(text, autos)
    lines = [line.strip() for line in text.splitlines()]
    whole = sum(line.endswith("{") for line in lines) == lines.count("}")
    if not whole or not text.startswith(HEADER):
        raise ConfigError("the file of connections is damaged, and loads nothing; apply state ipsec")
    value = swanctl.configuration(text)
    connections = {
        name: {**options, **({"auto": autos[name]} if name in autos else {})}
        for name, options in value.connections.items()
    }
    return swanctl.conf(value._replace(connections=connections))

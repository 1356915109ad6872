"""A name for the CHILD options of a connection, beside its IKE options: another name, another IKE SA.

charon starts a connection in the IKE SA that it has where no option of IKE differs (``equals`` of peer_cfg.c
and ike_cfg.c, in ``checkout_by_config``); its CHILD SA then has the options that this IKE SA was made with.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from functools import lru_cache
from typing import TypeVar

from . import defaults, options

_Change = TypeVar("_Change")

# What ``equals`` compares as a part of how this end proves itself (auth_cfg.c), and lists alone show: charon
# asks a peer for the groups of ``rightgroups``, whatever ipsec.conf(5) says (stroke_config.c build_auth_cfg,
# vici_config.c, ike_auth.c; 5.9.1 to 6.0.1). A lifetime is compared as well, and means something.
OPTION = "leftgroups"
# What is not compared. Margins of time and rekeyfuzz are of IKE as well; ``auto`` and ``dpdaction`` say when
# a pair is up, and not how.
_CHILD = (
    *("closeaction", "compress", "esp", "leftfirewall", "lefthostaccess", "leftupdown", "lifebytes"),
    *("lifepackets", "lifetime", "marginbytes", "marginpackets", "replay_window", "reqid", "sha256_96"),
    *("tfc", "type"),
)


def told(found: Mapping[str, str], beside: Mapping[str, str] = defaults.CONNECTION) -> dict[str, str]:
    """Return the option with the name, for options of other CHILD SAs than those ``beside``; else none.

    Without a pillar that sets any there is none: files are as they were before there were names.
    """
    name = _name(found)
    return {} if name == _name(beside) else {OPTION: name}


def untold(changes: Mapping[str, _Change]) -> dict[str, _Change]:
    """Return changes of options without that of the name, but where it is alone: it follows from others."""
    return {key: change for key, change in changes.items() if key != OPTION or len(changes) == 1}


def _name(found: Mapping[str, str]) -> str:
    return _of(tuple(found.get(key, defaults.STARTER.get(key, "")) for key in _CHILD))


@lru_cache(maxsize=1024)  # a fleet has few sets of options, and hundreds of thousands of connections
def _of(texts: tuple[str, ...]) -> str:
    meant = sorted((key, options.canonical(key, text)) for key, text in zip(_CHILD, texts))
    return f"hostipsec-{zlib.crc32(repr(meant).encode()):08x}"

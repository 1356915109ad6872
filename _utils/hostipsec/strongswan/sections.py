"""What strongSwan runs on a host, as one value: sections and their options, whatever its files look like.

Made from connections and settings here, compared by :mod:`hostipsec.strongswan.difference`, written by a
renderer last (:mod:`hostipsec.strongswan.render`), read back by :mod:`hostipsec.strongswan.parse`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, Optional

from .. import owner
from ..model import IPSEC_CONF, PASSIVE, REQUIRE, START, Connection, Meant, Settings
from . import childname, defaults

_NONE: Mapping[str, Any] = MappingProxyType({})

AUTO = {PASSIVE: "add", START: "add", REQUIRE: "route"}  # stage -> auto=, at both ends
# The starter initiates an auto=start connection each time that it loads it: an option or a certificate that
# changes would give the pair a second IKE SA, so hostipsec-keeper starts connections. Where it cannot run
# (a container whose process 1 is no init), the starter has to.
STARTER = "start"
HELD = "ignore"  # the starter does not load such a connection, and unloads it at an update


class Secret(NamedTuple):
    """The private key of this host: its keyword in ipsec.secrets, and its file below /etc/ipsec.d/private."""

    keyword: str  # RSA, ECDSA, or PKCS8, which takes any type, Ed25519 among them
    key: str


class Configuration(NamedTuple):
    """What strongSwan runs on a host. ``foreign`` and ``ours`` tell of files that were read."""

    setup: Mapping[str, str] = _NONE
    defaults: Mapping[str, str] = _NONE  # options of all connections
    connections: Mapping[str, Mapping[str, str]] = _NONE  # name -> options
    secret: Optional[Secret] = None  # None: there is none, or the file is not just what we write
    strongswan: Mapping[str, object] = _NONE  # the tree of strongswan.conf: {"charon": {"threads": "16"}}
    foreign: tuple[str, ...] = ()  # lines that are no part of the above, sorted; no renderer writes them
    ours: bool = True  # whether this package wrote it
    kept: bool = False  # whether it includes what others had there before
    backend: str = IPSEC_CONF  # in whose files it stands

    @property
    def names(self) -> frozenset[str]:
        """Return the names of the connections."""
        return frozenset(self.connections)

    @property
    def certificates(self) -> tuple[str, ...]:
        """Return the file names of the host's certificates, sorted; the connections of a host share one."""
        sections = (self.defaults, *self.connections.values())
        return tuple(sorted({options["leftcert"] for options in sections if "leftcert" in options}))

    @property
    def levels(self) -> dict[str, int]:
        """Return the log levels of ``charondebug`` by type; what is no level is left out."""
        pairs = (pair.split() for pair in self.setup.get("charondebug", "").split(","))
        return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].lstrip("-").isdecimal()}


def configuration(
    connections: Sequence[Connection],
    settings: Settings,
    certificate: str,
    secret: Secret,
    held: Collection[str] = (),
    keeper: bool = True,
    binding: Mapping[str, str] = _NONE,
    kept: bool = False,
    partners: Mapping[str, Mapping[str, str]] = _NONE,
) -> Configuration:
    """Return what a host shall run.

    ``certificate`` is its file name below /etc/ipsec.d/certs; charon is not to have the connections named in
    ``held``; ``keeper`` says whether hostipsec-keeper runs here; ``binding`` are the
    options that bind peers to a CA, none for any CA that charon has; ``kept`` has others' files included.
    ``partners`` are by peer the options that bind it to a CA of its own.
    """
    auto_of = autos(connections, held, keeper)
    peers = len({one.peer for one in connections})
    common = common_options(settings)
    own = {
        one.name: {**options(one, certificate, auto_of[one.name]), **partners.get(one.peer, _NONE)}
        for one in connections
    }
    value = Configuration(
        setup=setup(settings),
        defaults={**_bound(binding, settings), **common, **childname.told(common)},
        connections={
            name: {**found, **childname.told({**common, **found}, common)} for name, found in own.items()
        },
        secret=secret,
        strongswan={"charon": charon_settings(peers, settings)},
        kept=kept,
    )
    return required(value, connections)


def required(value: Configuration, connections: Iterable[Connection]) -> Configuration:
    """Return a value by which charon does not load what would take packets past ``require``.

    ``connections`` are what is blocked where it cannot be encrypted, among others.
    """
    if all(one.stage != REQUIRE for one in connections):
        return value
    return value._replace(strongswan=merged(value.strongswan, {"charon": defaults.REQUIRED}))


def _bound(binding: Mapping[str, str], settings: Settings) -> Mapping[str, str]:
    """Return the options of a binding; none where the pillar names another CA, of which they say nothing."""
    own = binding.get("rightca")
    return binding if settings.connection.get("rightca", own) == own else _NONE


def autos(connections: Iterable[Connection], held: Collection[str], keeper: bool) -> dict[str, str]:
    """Return the value of ``auto=`` of each connection, by name."""
    return {one.name: HELD if one.name in held else auto(one, keeper) for one in connections}


def auto(connection: Connection, keeper: bool = True) -> str:
    """Return the value of ``auto=`` of a connection that is not held."""
    starts = connection.initiator and connection.stage == START  # without a trap
    return STARTER if starts and not keeper else AUTO[connection.stage]


def options(connection: Connection, certificate: str, auto: str) -> dict[str, str]:
    """Return the options that differ between the connections of a host."""
    again = connection.initiator and connection.stage != PASSIVE
    return {
        "left": str(connection.left),
        "leftid": connection.leftid,
        "leftcert": certificate,
        "right": str(connection.right),
        "rightid": connection.rightid,
        "auto": auto,
        "dpdaction": "restart" if again else "clear",
        # a responder that brings up what is missing tries once: to go on trying is the initiator's
        **({} if again else {"keyingtries": "1"}),
        **({"reqid": str(owner.reqid(connection.name))} if connection.taking.only or connection.only else {}),
        **dict(connection.options),
    }


def common_options(settings: Settings) -> dict[str, str]:
    """Return the options of all connections: ours, with the pillar's over them."""
    return {**defaults.CONNECTION, **settings.connection}


def settings_of(connection: Connection, settings: Settings) -> Settings:
    """Return the settings that hold for one connection: those of all, with what its rule says over them."""
    own = {**settings.connection, **dict(connection.options)}
    return settings._replace(connection=own, mtu=connection.mtu or settings.mtu)


def esp_of(connections: Iterable[Connection], settings: Settings) -> tuple[str, ...]:
    """Return the values that option ``esp`` has in connections, sorted."""
    common = common_options(settings)["esp"]
    return tuple(sorted({dict(one.options).get("esp", common) for one in connections}))


def meant(settings: Settings) -> Meant:
    """Return what SAs are to be like."""
    every = common_options(settings)
    return Meant(every["type"], every["esp"], every["ike"], settings.weak)


def setup(settings: Settings) -> dict[str, str]:
    """Return the options of ``config setup``."""
    debug = ", ".join(f"{kind} {level}" for kind, level in sorted(settings.charondebug.items()))
    return {**settings.setup, **({"charondebug": debug} if debug else {})}


def charon_settings(peers: int, settings: Settings) -> dict[str, object]:
    """Return the tree below ``charon`` in strongswan.conf: ours, with the pillar's over it."""
    return merged(defaults.charon(peers), settings.charon)


def merged(under: Mapping[str, object], over: Mapping[str, object]) -> dict[str, object]:
    """Return a tree with the values of ``over`` laid over those of ``under``."""
    result = dict(under)
    for key, value in over.items():
        beneath = result.get(key)
        if isinstance(value, Mapping) and isinstance(beneath, Mapping):
            result[key] = merged(beneath, value)
        else:
            result[key] = value
    return result

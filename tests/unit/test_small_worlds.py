"""All small worlds: what charon and the kernel can be, as far as it matters for one connection.

Over both ways to ask charon the verdict is the same, and none is ``ok`` where it must not be.
"""

from __future__ import annotations

import itertools
from datetime import datetime, timezone
from typing import NamedTuple, Optional

import pytest
from test_judge import CHILD, EAST, KERNEL, LOADED, SA, WEST, WEST_V4, charon, guarded, row

import recordings
from hostipsec.health.judge import evaluate
from hostipsec.health.look import Look, judged
from hostipsec.model import Kernel, KernelPolicy, Meant

NOTHING = Kernel()
OUT, IN = KERNEL.states
ENDS = (f"{EAST['v4']}/32", f"{WEST['v4']}/32")
MEANT = Meant("transport", "aes128gcm16-ecp384bp-noesn!", "aes128gcm16-prfsha384-ecp384bp!")
TS = {"local_ts": ENDS[:1], "remote_ts": ENDS[1:]}

STAGES = ("passive", "start", "require")
IKES = (None, "CONNECTING", "ESTABLISHED", "REKEYED", "DELETING")
CHILDREN = (None, "INSTALLED", "UPDATING", "REKEYING", "REKEYED", "CREATED", "DELETED")
CARRYING = CHILDREN[1:5]
STATES = {
    "both": (OUT, IN),
    "out": (OUT,),
    "in": (IN,),
    "none": (),
    "of another reqid": (OUT._replace(reqid=2, spi="c9"), IN._replace(reqid=2, spi="c8")),
    "of another pair": (OUT._replace(dst="10.9.0.7"), IN._replace(src="10.9.0.7")),
    "waited for": (OUT._replace(algorithm=""), IN),
    "null": (OUT._replace(algorithm="hmac(sha256)/ecb(cipher_null)"), IN),
}
OURS = KERNEL.policies
POLICIES = {
    "ours": OURS,
    "none": (),
    "of another pair": tuple(one._replace(src="10.9.0.7/32") for one in OURS),
    "ours, after bypass-lan": (*OURS, KernelPolicy("10.9.0.0/24", "10.9.0.0/24", "out", 175423)),
    "ours, for what is marked": tuple(one._replace(narrow="mark 0x1/0xff") for one in OURS),
}


class World(NamedTuple):
    """One of them; ``kernel`` None is one that cannot be read."""

    stage: str
    loaded: bool
    routed: bool
    ike: Optional[str]
    child: Optional[str]
    kernel: Optional[tuple[str, str, bool]]  # states, policies, guard

    @property
    def connection(self):
        return WEST_V4._replace(stage=self.stage)

    @property
    def charon(self):
        child = CHILD._replace(state=self.child or "", proposal="AES_GCM_16_128", **TS)
        if self.child in ("CREATED", "DELETED", "UPDATING"):  # vici shows no SPIs of them either
            child = child._replace(spi_in=None, spi_out=None, proposal="")
        sa = SA._replace(state=self.ike or "", children=(child,) if self.child else ())
        routed = {"routed": ("west_v4",)} if self.routed else {}
        return charon(*([sa] if self.ike else []), loaded=(LOADED,) if self.loaded else (), **routed)

    @property
    def seen(self):
        if self.kernel is None:
            return None
        states, policies, guard = self.kernel
        found = Kernel(STATES[states], POLICIES[policies])
        return guarded(found, WEST_V4._replace(stage="require")) if guard else found

    @property
    def up(self):
        return self.ike in ("ESTABLISHED", "REKEYED") and self.child in CARRYING

    @property
    def may_be_well(self):
        """Whether it may be called ok: said here in other words than in the judge."""
        states, policies, guard = self.kernel or ("both" if self.up else "none", "ours", True)
        required = self.stage != "require" or (self.routed and guard)
        if self.up:
            return self.loaded and required and (states, policies) == ("both", "ours")
        gone = self.ike in (None, "DELETING") and states in ("none", "of another pair")
        if self.stage == "require":
            return gone and self.loaded and required and policies == "ours"
        left = policies if self.kernel else "none"
        trapped = self.routed or left not in ("none", "of another pair")
        return gone and self.loaded and not trapped and self.stage == "passive"


KERNELS = (None, *itertools.product(STATES, POLICIES, (True, False)))
ASSOCIATIONS = [(None, None), *itertools.product(IKES[1:], CHILDREN)]
WORLDS = [
    World(stage, loaded, routed, *association, kernel)
    for stage, (loaded, routed), association, kernel in itertools.product(
        STAGES, ((True, True), (True, False), (False, False)), ASSOCIATIONS, KERNELS
    )
]
HELD = {"west_v4": "since noon"}


def verdict(world, look, **more):
    found = row(evaluate((world.connection,), look, world.seen, meant=MEANT, **more))
    return found.state, found.severity


@pytest.mark.parametrize("stage", STAGES)
def test_every_world(stage):
    wrong = []
    for world in (one for one in WORLDS if one.stage == stage):
        look = world.charon
        found = verdict(world, look)
        if found != verdict(world, recordings.as_text_says(look)) or (found[1] == "ok") != world.may_be_well:
            wrong.append((world, found, verdict(world, recordings.as_text_says(look))))
    assert not wrong, (len(wrong), wrong[:5])


def test_every_world_that_is_held():
    """Never ok; and a warning, which says that it is as asked, only where nothing at all is left.

    Of what charon still had loaded, and a peer or a packet could bring up, it was a warning as well.
    """
    for world in WORLDS:
        look = world.charon
        found = verdict(world, look, held=HELD)
        assert found == verdict(world, recordings.as_text_says(look), held=HELD), world
        states, policies, _ = world.kernel or ("none", "none", True)
        left = world.ike in IKES[1:4] or states not in ("none", "of another pair")
        left = left or policies.startswith("ours") or world.loaded or world.routed
        assert found[1] == ("critical" if left else "warning"), (world, found)


def test_every_world_without_charon():
    for world, held in itertools.product((one for one in WORLDS if not one.ike), ({}, HELD)):
        assert verdict(world, None, held=held)[1] == "critical"


def test_where_the_kernel_cannot_be_read_a_host_is_not_well():
    """By charon's word alone nothing was compared."""
    now = datetime(2026, 11, 26, tzinfo=timezone.utc)
    for world in (one for one in WORLDS if one.kernel is None):
        look = Look((world.connection,), now, world.charon, None, unread={"kernel": "no right"}, meant=MEANT)
        assert not judged(look).ok


# One way: what is told of a CHILD's packets and age differs by the way to ask -----------------------

TIMES = (5, 90)
SILENT = [
    (child, ike, install, age, sent, got)
    for child, ike, install, age, sent, got in itertools.product(
        CARRYING, TIMES, TIMES, (None, *TIMES), (4, 9), (0, 1)
    )
    if install <= ike and age in (None, install)
]


@pytest.mark.parametrize("proposal", ["AES_GCM_16_128", "AES_GCM_16_128/ECP_384_BP"])
def test_both_ways_to_ask_say_the_same_of_one_way(proposal):
    """Where the kernel tells no age an SA is as old as its IKE SA: never taken for younger than it is."""
    for world in SILENT:
        state, ike, install, age, sent, got = world
        child = CHILD._replace(
            state=state, proposal=proposal, packets_out=sent, packets_in=got, use_out=1, install_time=install
        )
        look = charon(SA._replace(established=ike, children=(child._replace(**TS),)))
        seen = KERNEL._replace(states=(OUT._replace(age=age, packets=sent), IN._replace(packets=got)))
        expected = "one-way" if (sent, got) == (9, 0) and (age or ike) >= 30 else "established"
        for one in (look, recordings.as_text_says(look)):
            assert row(evaluate((WEST_V4,), one, seen, meant=MEANT)).state == expected, (world, one.backend)


def test_a_look_before_that_shows_no_packets_hides_no_one_way():
    """Over the text they were fewer than before once a rekeying began: that counted as packets in."""
    child = CHILD._replace(proposal="AES_GCM_16_128", packets_out=90, packets_in=9, use_out=1, **TS)
    now = child._replace(state="REKEYING", packets_out=99, packets_in=0)
    seen = KERNEL._replace(states=(OUT._replace(age=90, packets=99), IN))
    for say in (lambda look: look, recordings.as_text_says):
        looks = [say(charon(SA._replace(children=(one,)))) for one in (child, now)]
        found = row(evaluate((WEST_V4,), looks[1], seen, meant=MEANT, previous=looks[0]))
        assert found.state == "one-way"

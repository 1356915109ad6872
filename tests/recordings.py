"""What real charons and kernels showed, each moment by every way of asking.

``tests/unit/data/charon/VERSION-MOMENT`` with ``.txt`` (``ipsec statusall``), ``.json`` (the answers over
vici) and, where the kernel did ESP, ``.states`` and ``.policies`` (``ip xfrm``). Host ``east`` (10.9.0.1,
fd00::1) has connections to ``west`` (10.9.0.2, fd00::2), to ``gone`` that does not exist, and a trap.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Optional

from hostipsec.charon import statusall, vicimessage
from hostipsec.kernel import xfrm
from hostipsec.model import Charon, ChildSA, IkeSA, Kernel

DATA = Path(__file__).parent / "unit" / "data" / "charon"
VERSIONS = ("5.9.1", "5.9.8", "6.0.1")
ALL = tuple(sorted(path.stem for path in DATA.glob("*.txt")))
WITH_KERNEL = tuple(name for name in ALL if (DATA / f"{name}.states").exists())


def read(name: str) -> str:
    """Return the text of a file."""
    return (DATA / name).read_text()


def answers(name: str) -> dict[str, Any]:
    """Return the answers over vici, as ``vicimessage.charon`` takes them; values are text."""
    found: dict[str, Any] = json.loads(read(f"{name}.json"))
    return found


def vici(name: str) -> Charon:
    """Return what vici said."""
    return vicimessage.charon(**answers(name))


def stroke(name: str) -> Charon:
    """Return what ``ipsec statusall`` printed."""
    return statusall.parse(read(f"{name}.txt"))


def kernel(name: str) -> Kernel:
    """Return what the kernel showed."""
    return xfrm.kernel(read(f"{name}.states"), read(f"{name}.policies"), "")


BACKENDS = {"vici": vici, "stroke": stroke}


# What the text says less ---------------------------------------------------------------------


def as_text_says(look: Charon) -> Charon:
    """Return what the text would have said where vici said this; workers apart, as asking takes one."""
    sas = tuple(_ike_as_text(sa) for sa in look.ike_sas)
    return look._replace(backend="stroke", uptime=_span(look.uptime), ike_sas=sas)


def whoever_asks(look: Charon) -> Charon:
    """Return it without what asking itself changes: a thread is busy with it, and memory."""
    load = look.load._replace(busy={}, heap={"total": look.load.heap.get("total", 0)})
    return look._replace(workers_idle=None, load=load)


def _ike_as_text(sa: IkeSA) -> IkeSA:
    times = {name: _span(getattr(sa, name)) for name in ("established", "rekey_time", "reauth_time")}
    return sa._replace(**times, children=tuple(_child_as_text(child) for child in sa.children))


def _child_as_text(child: ChildSA) -> ChildSA:
    if child.state == "INSTALLED":
        return child._replace(rekey_time=_span(child.rekey_time), life_time=None, install_time=None)
    known = {key: getattr(child, key) for key in ("name", "state", "mode", "uniqueid", "reqid")}
    return ChildSA(**known, local_ts=child.local_ts, remote_ts=child.remote_ts)


def _span(seconds: Optional[int]) -> Optional[int]:
    """Return what is left of a time in the text: strongSwan's ``time_delta_printf_hook`` cuts it off."""
    if seconds is None:
        return None
    unit = next((unit for unit in (86400, 3600, 60) if seconds > 2 * unit), 1)
    return seconds // unit * unit

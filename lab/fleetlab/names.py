"""Names of the lab's things on the machine, all derived from the lab's name."""

import re
import uuid
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from .errors import LabError
from .paths import NETNS

LAB_NAME = re.compile(r"[a-z][a-z0-9]{0,11}")
LINK_LENGTH = 15
CORE = "core"
DEFAULT = "lab"  # of a lab that was given no name
MASTER = "master"


def check_lab_name(name: str) -> str:
    """Return the name, or raise `LabError` when it would not fit everywhere."""
    if not LAB_NAME.fullmatch(name):
        raise LabError(f"lab name {name!r}: want a small letter, then up to 11 small letters or digits")
    return name


def namespace(lab: str, host: str) -> str:
    """The network namespace of a host, or of the core."""
    return f"lab-{lab}-{host}"


def namespace_path(lab: str, host: str) -> str:
    """The file that keeps a network namespace."""
    return str(NETNS / namespace(lab, host))


def machine(lab: str, host: str) -> str:
    """The machine name of a host's container."""
    return f"{lab}-{host}"


def machine_id(lab: str, host: str) -> str:
    """The content of /etc/machine-id: the same for the same host of the same lab."""
    return uuid.uuid5(uuid.NAMESPACE_DNS, f"{host}.{lab}.lab").hex


def unanswered(target: str, expr: str, hosts: Sequence[str], answered: Iterable[str]) -> list[str]:
    """The hosts of a target (a `glob`, or a `list` with commas) that are not among those that answered.

    `LabError` where the target fits no host: what is said of all its hosts would say nothing.
    """
    named = target.split(",")
    meant = [host for host in hosts if (host in named if expr == "list" else fnmatchcase(host, target))]
    if not meant:
        raise LabError(f"target {target!r} fits no host of this lab; there are {', '.join(sorted(hosts))}")
    return sorted({*meant} - {*answered})


def bridges(sites: Sequence[str]) -> dict[str, str]:
    """A bridge name for each site, short enough for a link and different from the others."""
    return _unique({site: f"br-{re.sub('[^A-Za-z0-9-]', '-', site)}" for site in sorted(set(sites))})


def ports(hosts: Sequence[str]) -> dict[str, str]:
    """The core's end of each host's mesh link: the host's short name where that fits."""
    return _unique({host: host.split(".")[0] for host in sorted(hosts)})


def _unique(wanted: dict[str, str]) -> dict[str, str]:
    taken: set[str] = set()
    result = {}
    for key, name in wanted.items():
        chosen, number = name[:LINK_LENGTH], 1
        while chosen in taken:
            number += 1
            suffix = f"-{number}"
            chosen = name[: LINK_LENGTH - len(suffix)] + suffix
        taken.add(chosen)
        result[key] = chosen
    return result


def resolve(wanted: str, hosts: Sequence[str]) -> str:
    """The host that is meant by a name or by a beginning of one that fits no other."""
    if wanted in hosts:
        return wanted
    found = [host for host in hosts if host.startswith(wanted)]
    if len(found) == 1:
        return found[0]
    if found:
        raise LabError(f"{wanted!r} can mean {', '.join(sorted(found))}")
    raise LabError(f"no host {wanted!r} in this lab; there are {', '.join(sorted(hosts))}")

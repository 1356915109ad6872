"""What a host is, and in what two looks at it differ."""

from __future__ import annotations

import re

from fleetlab.machine import Machine

# what two looks at a host have that nobody touched, or what tools keep as records of their own
OTHERS = {
    "adduser, for the user of the package": r"/run/adduser|/etc/(passwd|shadow|group|gshadow)-$",
    "apt and dpkg keep records of what they did": r"/var/lib/(apt|dpkg|ucf)(/|$)|/etc/ld\.so\.cache",
    "Salt's bytecode and caches": r"/opt/.*(__pycache__|\.pyc$)",
    "systemd's own records": r"/var/lib/systemd/|/run/(log|systemd|user|utmp|sudo|mount|lock)",
}
_FOOTPRINT = r"""
find /etc /opt /run /usr/local /var/lib -path /run/systemd -prune -o -printf '%p\t%y %m %u:%g %l\n'
find /etc /usr/local -type f -exec sha256sum {} + | awk '{ print "content of " $2 "\t" $1 }'
dpkg-query -W -f 'package ${Package}\t${Status}\n'
systemctl list-unit-files --no-legend | awk '{ print "unit " $1 "\t" $2 }'
{ ip xfrm state; ip xfrm policy; } | sed 's/^/xfrm /; s/$/\t/'
for family in -4 -6; do
    ip $family -o route show table all | sed 's/ expires [0-9]*sec//; s/^/route /; s/$/\t/'
    ip $family rule | sed 's/^/rule /; s/$/\t/'
done
ip -o link | awk '{ print "link " $2 "\t" }'
sysctl net.core.xfrm_larval_drop | sed 's/ = /\t/'
dpkg-divert --list | sed 's/$/\t/'
"""


def footprint(machine: Machine) -> dict[str, str]:
    """What a host is: paths, contents, packages, units, IPsec in the kernel, routes, diversions."""
    lines = machine.run(["sh", "-c", _FOOTPRINT]).stdout.splitlines()
    return dict(line.split("\t", 1) for line in lines if "\t" in line)


def different(before: dict[str, str], after: dict[str, str]) -> dict[str, tuple]:
    """What is not as it was, without what is none of this package's."""
    names = [name for name in {*before, *after} if before.get(name) != after.get(name)]
    mine = [name for name in names if not any(re.search(rule, name) for rule in OTHERS.values())]
    return {name: (before.get(name), after.get(name)) for name in sorted(mine)}

"""What a lab sets for the whole machine."""

from pathlib import Path

WATCHERS = 16  # inotify instances a host
NEIGHBOURS = {"gc_thresh2": 8192, "gc_thresh3": 16384}  # how many the kernel may know


def let_watch(hosts: int, labs: int) -> None:
    """Let root have as many inotify instances as the hosts' systemd need; without, it stops in mid-boot.

    The machine counts those of all `labs` together; this one has so many `hosts`.
    """
    limit = Path("/proc/sys/fs/inotify/max_user_instances")
    wanted = labs * WATCHERS * 8 + WATCHERS * hosts
    if int(limit.read_text()) < wanted:
        limit.write_text(str(wanted))


def let_know_neighbours(place: Path = Path("/proc/sys/net")) -> None:
    """Let the kernel know more neighbours than it does by default: all network namespaces share one table.

    Where a test beside this lab asks for a thousand peers that are not there, it was full, and every packet
    of IPv4 that a host of the lab sent in those seconds was refused.
    """
    for family in ("ipv4", "ipv6"):
        for name, wanted in NEIGHBOURS.items():
            limit = place / family / "neigh/default" / name
            if limit.exists() and int(limit.read_text()) < wanted:  # only the machine's own namespace has it
                limit.write_text(str(wanted))

"""Where things are on a host, and how long they may take: each in this one place.

``here`` are the paths that count. A test points all of them elsewhere at once, so that what it tests works on
real files: ``monkeypatch.setattr(paths, "here", Paths(directory))``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Union

# units, ours and strongSwan's
KEEPER_UNIT = "hostipsec-keeper.service"
STRONGSWAN_UNITS = ("strongswan-starter", "strongswan")  # the second on Debian 10 and Ubuntu 18.04
SWANCTL_UNIT = "strongswan"  # of charon-systemd

# seconds
DOWN_DEADLINE = 10.0  # until every SA is ended, then by force
UP_DEADLINE = 30.0  # until what comes back is up
CALL_DEADLINE = 5.0  # of one call to charon, the kernel or a command
ORDER_DEADLINE = 10.0  # until the starter or the service manager has taken an order
IP_DEADLINE = 10.0  # of one call of ip for policies or routes
DNS_DEADLINE = 15.0  # of all look-ups together; a name server that is gone costs each 5 s
KEEPER_INTERVAL = 5.0  # between two looks of the keeper, give or take a fifth


class Paths:
    """The paths of a host, below ``root``."""

    def __init__(self, root: Union[str, Path] = "/") -> None:
        self.root = Path(root)
        etc, run, proc = self.root / "etc", self.root / "run", self.root / "proc"
        # strongSwan's, as Debian and Ubuntu have them
        self.conf = etc / "ipsec.conf"
        self.secrets = etc / "ipsec.secrets"
        self.ipsec_d = etc / "ipsec.d"  # charon's AppArmor profile lets it read below here only
        self.swanctl_d = etc / "swanctl"  # swanctl's AppArmor profile lets it read below here only
        self.swanctl = self.swanctl_d / "conf.d/hostipsec.conf"  # where it is, the host runs by swanctl
        self.strongswan_d = etc / "strongswan.d"
        self.kept_conf = self.ipsec_d / "hostipsec-existing.conf"  # of others, which ours include
        self.kept_secrets = self.ipsec_d / "hostipsec-existing.secrets"
        self.strongswan = self.strongswan_d / "hostipsec.conf"
        self.scripts = etc / "init.d"  # strongSwan's, and ours where no systemd runs units
        self.init_script = self.scripts / "ipsec"
        self.init_script_diverted = self.scripts / "ipsec-disabled"
        self.run = run  # of charon's sockets and pid file
        self.charon_pid = run / "charon.pid"
        self.charon_vici = run / "charon.vici"
        self.ipsec = self.root / "usr/sbin/ipsec"
        self.starter = self.root / "usr/lib/ipsec/starter"
        self.charon_systemd = self.root / "usr/sbin/charon-systemd"
        self.swanctl_program = self.root / "usr/sbin/swanctl"
        self.plugins = self.root / "usr/lib/ipsec/plugins"
        # what we keep: store/generations.py says what each is for
        self.state = self.root / "var/lib/hostipsec"
        self.record = self.state / "mesh.json"  # this host's connections, for programs without the pillar
        self.record_copy = self.state / "mesh.copy.json"  # of the last one that was read well
        self.swanctl_copy = self.state / "swanctl.copy.conf"  # of the last file of swanctl's that was whole
        self.hold = self.state / "hold.json"
        self.command = self.state / "command.json"
        self.failed = self.state / "failed.json"  # what the last state.apply failed by, until one passes
        self.moving = self.state / "moving"  # to which back end, while the host does
        self.before = self.state / "before.json"
        self.change = self.state / "previous/change.json"
        self.locks = run / "hostipsec"  # a directory for root alone: who can open a lock can hold it
        self.lock = self.locks / "hold.lock"
        self.starting = self.locks / "starting.lock"  # connections, one process at a time
        self.lock_of_before = run / "hostipsec.lock"  # of releases whose lock anybody could hold
        self.sample = self.locks / "state.json"  # what the keeper's last look found, for faces of monitoring
        self.counting = self.locks / "clear-text"  # while nftables has our table, which a boot takes as well
        self.loglevel = self.locks / "loglevel.json"  # what charon logs beyond the usual, and until when
        self.totals = self.state / "counters.json"  # that only grow, over every restart
        self.keeper_beat = run / "hostipsec-keeper.beat"  # when the keeper looked last, seconds since boot
        # what we bring
        self.engine = self.root / "usr/local/lib/hostipsec"
        self.sysctl = etc / "sysctl.d/60-ipsec.conf"
        self.login = etc / "update-motd.d/60-hostipsec-hold"
        self.ipsec_global = self.root / "usr/local/sbin/ipsec-global"
        self.check = self.root / "usr/local/lib/nagios/plugins/check_ipsec"
        self.check_rights = etc / "sudoers.d/hostipsec-check"  # by which a monitoring agent may start it
        self.completion = self.root / "usr/local/share/bash-completion/completions/ipsec-global"
        # the operating system's
        self.units = etc / "systemd/system"
        self.unit_directories = (
            self.units,
            self.root / "lib/systemd/system",
            self.root / "usr/lib/systemd/system",
        )
        self.systemd = run / "systemd/system"  # there while systemd is process 1
        self.os_release = etc / "os-release"
        self.proc = proc
        self.sysctls = proc / "sys"
        self.sysctl_conf = etc / "sysctl.conf"
        self.sysctl_directories = (  # of two files of one name, that in the first counts
            etc / "sysctl.d",
            run / "sysctl.d",
            *(self.root / lib / "sysctl.d" for lib in ("usr/local/lib", "usr/lib", "lib")),
        )
        self.xfrm_stat = proc / "net/xfrm_stat"
        self.modules = self.root / "lib/modules"
        self.puppet_ssl = (  # of the Puppet agent, by its age
            etc / "puppetlabs/puppet/ssl",
            self.root / "var/lib/puppet/ssl",
            etc / "puppet/ssl",
        )

    def kept(self, generation: str, path: Path) -> Path:
        """Return where a generation of a file is kept: ``/var/lib/hostipsec/previous/etc/ipsec.conf``."""
        return self.state / generation / path.relative_to(self.root)


here = Paths()

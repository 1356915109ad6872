"""Which file of sysctls wins at a boot: what systemd and procps do with them, and what is said of them."""

from __future__ import annotations

import pytest
import strongswan

from hostipsec import paths
from hostipsec.system import sysctls

KEY = "net.core.xfrm_acq_expires"  # of a network namespace
OURS, KERNELS = "33", "30"
READERS = {  # what reads them at a boot, with and without systemd as process 1
    "systemd": ["/usr/lib/systemd/systemd-sysctl"],
    "procps": ["/sbin/sysctl", "--quiet", "--system"],
}
LATER = "etc/sysctl.d/99-x.conf"


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    made = strongswan.Host("sysctls", tmp_path_factory.mktemp("sysctls") / "host")
    yield made
    made.stop()


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    "files",
    [
        {},
        {LATER: f"{KEY} = 44"},
        {"etc/sysctl.d/10-x.conf": f"{KEY} = 44"},
        {"run/sysctl.d/99-x.conf": f"{KEY} = 44"},
        {"usr/lib/sysctl.d/99-x.conf": f"{KEY.replace('.', '/')} = 44"},
        {"usr/lib/sysctl.d/99-x.conf": f"{KEY} = 44", LATER: "# nothing"},
        {LATER: f"{KEY} = 44", "usr/lib/sysctl.d/99-y.conf": f"{KEY} = {OURS}"},
        {LATER: "net.core.xfrm_* = 44"},
        {LATER: f"-{KEY}"},
        {LATER: f"  - {KEY.replace('.', '/')}"},
        {LATER: f"-{KEY}\nnet.core.xfrm_* = 44"},
        {LATER: f"{KEY} = 44\n-{KEY}"},
        {LATER: f"-{KEY}\n{KEY} = 44"},
        {LATER: f"-{KEY}", "usr/lib/sysctl.d/99-y.conf": f"{KEY} = {OURS}"},
        {LATER: f"{KEY} = 44", "usr/lib/sysctl.d/99-y.conf": f"-{KEY}"},
        {"etc/sysctl.d/10-x.conf": f"-{KEY}"},
        {LATER: "-net.core.xfrm_*"},
        {LATER: f"-{KEY} # not so"},
        {LATER: f"--{KEY}"},
        {LATER: f"- {KEY} = 44"},
        {LATER: f"-{KEY} = 44"},
        {"etc/sysctl.conf": f"{KEY} = 44"},
        {"etc/sysctl.conf": f"{KEY} = 44", "etc/sysctl.d/99-sysctl.conf": None},
    ],
)
def test_what_is_said_of_a_later_file_is_what_comes_at_a_boot(host, monkeypatch, reader, files):
    """``None`` is systemd's link to /etc/sysctl.conf."""
    host.run(
        "sh", "-c", "rm -f /etc/sysctl.conf /*/sysctl.d/*.conf /usr/*/sysctl.d/*.conf; mkdir -p /run/sysctl.d"
    )
    for path, text in {"etc/sysctl.d/60-ipsec.conf": f"{KEY} = {OURS}", **files}.items():
        link = ["ln", "-s", "../sysctl.conf", f"/{path}"]
        host.write(path, f"{text}\n") if text else host.run(*link)
    host.run("sh", "-c", f"echo {KERNELS} > /proc/sys/{KEY.replace('.', '/')}")
    host.run(*READERS[reader])
    live = host.run("cat", f"/proc/sys/{KEY.replace('.', '/')}").strip()

    there = paths.Paths(root=host.root)
    there.systemd = host.root / ("" if reader == "systemd" else "none")
    monkeypatch.setattr(paths, "here", there)
    said = sysctls.overruled({KEY: OURS})
    assert live in (OURS, "44", KERNELS)
    left = f"has systemd leave it as the kernel has it (-{KEY})"
    does = left if live == KERNELS else f"sets it to {live}"
    assert [f" {does} at the next boot" in one for one in said] == [True] * (live != OURS), said

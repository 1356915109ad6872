"""The plane: who does ESP in this lab, the kernel or charon itself."""

import os

from .errors import LabError
from .process import run

KERNEL, CHARON, AUTO = "kernel", "charon", "auto"
PLANES = (AUTO, KERNEL, CHARON)
SAYS = {
    KERNEL: "ESP plane: kernel, transport mode",
    CHARON: "ESP plane: charon (kernel-libipsec), TUNNEL mode: charon's own ESP has no transport mode",
}
PROBE = (
    "ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1000 reqid 1 mode transport "
    "aead rfc4106(gcm(aes)) 0x" + 20 * "42" + " 128"
)


def choose_plane(wanted: str) -> str:
    """Return `kernel` or `charon`; `auto` is the kernel where it can. Raises `LabError`."""
    if wanted == CHARON:
        return CHARON
    reason = why_not_kernel()
    if reason is None:
        return KERNEL
    if wanted == KERNEL:
        raise LabError(f"this kernel has no ESP with AES-GCM ({reason}); use lab/with-esp, or --plane charon")
    return CHARON


def why_not_kernel() -> str | None:
    """Add an ESP state with AES-GCM in a network namespace that is thrown away; None when the kernel can."""
    name = f"lab-probe-{os.getpid()}"
    run(["ip", "netns", "add", name])
    try:
        done = run(["ip", "netns", "exec", name, *PROBE.split()], check=False)
    finally:
        run(["ip", "netns", "delete", name], check=False)
    return None if done.returncode == 0 else done.stderr.strip()

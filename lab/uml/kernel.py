"""Whether this machine's own kernel does ESP with AES-GCM, for IPv4 and IPv6."""

import subprocess

_STATE = (
    "ip xfrm state add src {0}1 dst {0}2 proto esp spi 0x1000 reqid 1 mode transport "
    "aead 'rfc4106(gcm(aes))' 0x" + 20 * "42" + " 128"
)
FAMILIES = (("esp4", "192.0.2."), ("esp6", "2001:db8::"))


def probe_argv(prefix: str) -> list:
    """Return what adds such a state in a network namespace that goes with the process."""
    return ["unshare", "--net", "sh", "-c", _STATE.format(prefix)]


def why_not() -> "str | None":
    """Return why the kernel cannot, in some words; None when it can."""
    for module, prefix in FAMILIES:
        try:
            done = subprocess.run(
                probe_argv(prefix), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30
            )
        except FileNotFoundError as error:
            return f"{error.filename} is not installed"
        except subprocess.TimeoutExpired:
            return f"{module}: no answer within 30 s"
        if done.returncode:
            return f"{module}: {_last_line(done.stderr)}"
    return None


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no reason given"])[-1]

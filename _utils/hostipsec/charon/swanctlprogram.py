"""charon told of keys, certificates and revocation lists by swanctl's program, which reads /etc/swanctl."""

from __future__ import annotations

from .. import paths
from ..errors import CharonError
from ..system import processes


def reread(timeout: float = paths.ORDER_DEADLINE, run: processes.Run = processes.run) -> None:
    """Have charon read them again. Raises CharonError where swanctl cannot tell it.

    All that charon has of them is cleared first: else it goes on with a CA that was removed, and heeds no
    newer revocation list. SAs stay. What cannot be loaded swanctl only says: ask charon for it afterwards.
    """
    argv = [str(paths.here.swanctl_program), "--load-creds", "--clear", "--noprompt"]
    done = run(argv, timeout)
    if done.status == processes.NOT_FOUND:
        raise CharonError(f"{argv[0]} cannot be run; is strongswan-swanctl installed?")
    if done.status != 0:
        said = " ".join(done.text.split()) or "no output"
        raise CharonError(f"swanctl --load-creds: status {done.status}, {said}; is the service running?")

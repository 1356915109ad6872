"""A lab that is there already, and whose hosts do not start again."""

import pytest

from fleetlab.errors import LabError
from fleetlab.lab import Lab

SLOW = "master: start (log: /run/ipsec-lab/lab/hosts/master/console.log): not within 120 s"


class Killed(Lab):
    """One that was killed: what its hosts stand on is there, and they do not boot."""

    def __init__(self):
        self.name = "lab"

    def _wait_ready(self):
        raise LabError(SLOW)


def test_where_hosts_do_not_start_again_the_cure_is_named():
    """After a kill -9 `make demo` said each time that the master did not start, and not what ends that."""
    with pytest.raises(LabError) as caught:
        Killed()._wait_started()
    assert str(caught.value) == (
        f"{SLOW}\nwhere an earlier run was killed: lab/lab --name lab down (make down) takes it away, and "
        "then it starts anew"
    )

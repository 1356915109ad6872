"""A runner's answer waits for a master that is restarted."""

import contextlib
import socket
import threading

from hostipsec.system import bus


def bound(place):
    """Return the socket of a master that does not listen: one that was stopped."""
    one = socket.socket(socket.AF_UNIX)
    one.bind(str(place / bus.SOCKET))
    return one


def test_a_master_that_listens_takes_events_at_once(tmp_path):
    with contextlib.closing(bound(tmp_path)) as master:
        master.listen()
        assert bus.takes(str(tmp_path), 0)


def test_one_that_does_not_come_back_takes_none(tmp_path):
    with contextlib.closing(bound(tmp_path)):
        assert not bus.takes(str(tmp_path), 0.3)


def test_one_that_is_restarted_is_waited_for(tmp_path):
    with contextlib.closing(bound(tmp_path)) as master:
        coming = threading.Timer(0.5, master.listen)
        coming.start()
        assert bus.takes(str(tmp_path), 60)
        coming.join()


def test_nobody_waits_where_there_is_no_such_socket(tmp_path):
    assert bus.takes(str(tmp_path), 60)
    assert bus.takes("", 60)

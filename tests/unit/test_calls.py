"""Whatever a function of Salt raises is a sentence that says what to type."""

from __future__ import annotations

import pytest
from salt.exceptions import CommandExecutionError, SaltReqTimeoutError

from hostipsec.calls import Calls
from hostipsec.errors import HostIPsecError


def raising(error):
    def function(*_, **__):
        raise error

    return {"service.start": function}


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            CommandExecutionError("Unit x is masked\nsee there"),
            "service.start: Unit x is masked; type: systemctl unmask x",
        ),
        (
            SaltReqTimeoutError("timed out"),
            "service.start: timed out; type: salt-call -l debug service.start x",
        ),
        (KeyError("y"), "service.start: KeyError: 'y'; type: salt-call -l debug service.start x"),
        (OSError(), "service.start: OSError; type: salt-call -l debug service.start x"),
        (ValueError("\n"), "service.start: ValueError; type: salt-call -l debug service.start x"),
    ],
    ids=str,
)
def test_what_is_raised(error, said):
    with pytest.raises(HostIPsecError) as caught:
        Calls(raising(error))["service.start"]("x")
    assert str(caught.value) == said


def test_a_function_that_is_not_there():
    with pytest.raises(
        HostIPsecError, match=r"service.start: KeyError: .*; type: salt-run -l debug service.start"
    ):
        Calls({}, "salt-run")["service.start"]()


def test_what_is_said_already_and_what_is_returned_stays():
    assert Calls({"x.y": lambda a, b: (a, b)})["x.y"](1, b=2) == (1, 2)
    with pytest.raises(HostIPsecError, match=r"^as it is$"):
        Calls(raising(HostIPsecError("as it is")))["service.start"]()

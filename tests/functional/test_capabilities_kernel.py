"""What a kernel can, asked of real kernels; and the state that refuses to begin without it."""

from __future__ import annotations

import os

import pytest
import withesp

from hostipsec.kernel import capabilities
from hostipsec.system import processes

GCM = "aes128gcm16-ecp384bp-noesn!"
root_only = pytest.mark.skipif(os.getuid() != 0, reason="needs namespaces, or User Mode Linux")


@root_only
def test_a_kernel_with_everything_and_one_that_lost_modules():
    found = withesp.run("capable.py", options=["--uml"])
    lacking = {esp: said for esp, said in found["everything"].items() if said}
    # Camellia is known to charon beyond CBC, and to no kernel interface
    assert all(esp.startswith("camellia") or esp.endswith("camelliaxcbc") for esp in lacking)
    assert len(found["everything"]) - len(lacking) == 55
    assert found["taken"] == [
        "the kernel has no AES_GCM_16_128 (rfc4106(gcm(aes))): module gcm does not load; try: modprobe gcm",
        "the kernel has no ESP for IPv6: module esp6 does not load; try: modprobe esp6",
    ]


@root_only
def test_this_machine_keeps_none_of_the_sas():
    """Whatever this kernel can: it is told, by modules, and the SAs are gone with their namespaces."""
    for sentence in capabilities.missing(GCM, ("v4", "v6")):
        assert sentence.startswith(("the kernel has no ", "the kernel takes no SAs: ", "there is no "))
    left = processes.run(["ip", "xfrm", "state", "list"], 60)
    assert "spi 0x00001000" not in left.text


# The state -----------------------------------------------------------------------------------


def both(minion):
    """Run the state in test mode and for real: it says the same."""
    did = minion.state("ipsec.esp_available", "esp")
    assert minion.state("ipsec.esp_available", "esp", test=True) == did
    assert did["changes"] == {}
    return did["result"], did["comment"]


def test_the_kernel_can(minion, monkeypatch):
    asked = []
    monkeypatch.setattr(capabilities, "missing", lambda *words: asked.append(words) or ())
    assert both(minion) == (True, f"the kernel has ESP with {GCM} for IPv4, IPv6")
    assert asked[0] == (GCM, ["v4", "v6"])


def test_the_kernel_cannot(minion, monkeypatch):
    said = ("the kernel has no ESP for IPv4: it was built without module esp4", "there is no /lib/modules/6")
    monkeypatch.setattr(capabilities, "missing", lambda *_: said)
    assert both(minion) == (False, f"Nothing was changed.\n- {said[0]}\n- {said[1]}")


def test_it_cannot_be_told(minion, monkeypatch):
    def refuse(*_):
        raise capabilities.CapabilityError("cannot tell: unshare failed; needs root")

    monkeypatch.setattr(capabilities, "missing", refuse)
    assert both(minion) == (False, "Nothing was changed.\n- cannot tell: unshare failed; needs root")


def test_where_charon_does_esp_the_kernel_is_not_asked(minion, data, monkeypatch):
    monkeypatch.setattr(capabilities, "missing", lambda *_: ("never asked",))
    minion.pillar({**data, "charon": {"plugins": {"kernel-libipsec": {"load": "yes"}}}})
    assert both(minion) == (True, "charon does ESP itself (kernel-libipsec)")


def test_nothing_is_done_without_it(minion, monkeypatch):
    """Every other state of the package waits for the check."""
    monkeypatch.setattr(
        capabilities, "missing", lambda *_: ("the kernel has no ESP for IPv4: no module esp4",)
    )
    found = minion.apply(test=True)
    assert found["ipsec-check-input"]["result"] is True
    assert found["ipsec-check-esp"]["result"] is False
    others = [one for name, one in found.items() if not name.startswith("ipsec-check-")]
    assert others
    for one in others:
        assert (one["result"], one["changes"]) == (False, {})
        assert one["comment"].startswith("One or more requisite failed")

"""What a kernel lacks, from what ``ip`` of three releases says; and the names that the kernel knows."""

from __future__ import annotations

import os

import pytest

from hostipsec import plane
from hostipsec.kernel import capabilities, kernelnames
from hostipsec.model import Certificates, Settings
from hostipsec.strongswan import proposals
from hostipsec.system.processes import NOT_FOUND, TIMED_OUT, Result

GCM = "aes128gcm16-ecp384bp-noesn!"
NO_TYPE = Result(2, "", "Error: Requested type not found.\n")
NO_AEAD = Result(2, "", "Error: Requested AEAD algorithm not found.\n")


class Kernel:
    """Answers as a kernel that lacks some things; keeps what it was asked."""

    def __init__(self, *answers):
        self.answers = answers  # (word of the command, answer)
        self.asked = []

    def __call__(self, argv, timeout):
        self.asked.append(tuple(argv))
        return next((answer for word, answer in self.answers if word in argv), Result(0, ""))


@pytest.fixture
def modules(here):
    """Return a folder like /lib/modules, whose kernel has gcm as a module, esp4 built in, and no esp6."""
    folder = here.modules / os.uname().release
    folder.mkdir(parents=True)
    (folder / "modules.dep").write_text("kernel/crypto/gcm.ko.xz: kernel/crypto/ctr.ko.xz\n")
    (folder / "modules.builtin").write_text("kernel/net/ipv4/esp4.ko\n")


def test_a_kernel_that_can_is_asked_in_namespaces_of_their_own(modules):
    kernel = Kernel()
    assert capabilities.missing(GCM, ("v4", "v6"), kernel) == ()
    four, six = kernel.asked
    assert four[:6] == ("unshare", "--net", "ip", "xfrm", "state", "add")
    assert "192.0.2.1" in four
    assert "2001:db8::1" in six
    assert four[-4:] == ("aead", "rfc4106(gcm(aes))", "0x" + "42" * 20, "128")


def test_no_esp_for_one_family(modules):
    kernel = Kernel(("2001:db8::1", NO_TYPE))
    assert capabilities.missing(GCM, ("v4", "v6"), kernel) == (
        "the kernel has no ESP for IPv6: it was built without module esp6",
    )
    assert capabilities.missing(GCM, ("v4",), kernel) == ()


@pytest.mark.parametrize(
    "said",
    [
        "Error: Requested AEAD algorithm not found.",
        "Error: Kernel was unable to initialize cryptographic operations.",
        "RTNETLINK answers: Function not implemented",  # kernels up to 5.19
        "RTNETLINK answers: No such file or directory",
    ],
)
def test_no_algorithm(modules, said):
    kernel = Kernel(("aead", Result(2, "", f"{said}\n")))
    assert capabilities.missing(GCM, ("v4", "v6"), kernel) == (
        "the kernel has no AES_GCM_16_128 (rfc4106(gcm(aes))): module gcm does not load; try: modprobe gcm",
    )


def test_neither_algorithm_nor_esp(modules):
    """The kernel names the algorithm first; a second question finds that ESP is missing as well."""
    found = capabilities.missing(GCM, ("v4",), Kernel(("aead", NO_AEAD), ("enc", NO_TYPE)))
    assert [sentence.partition(":")[0] for sentence in found] == [
        "the kernel has no AES_GCM_16_128 (rfc4106(gcm(aes)))",
        "the kernel has no ESP for IPv4",
    ]


@pytest.mark.parametrize(
    "said", ["Error: Requested type not found.", "RTNETLINK answers: Protocol not supported"]
)
def test_no_esp(modules, said):
    found = capabilities.missing(GCM, ("v4",), Kernel(("ip", Result(2, "", said))))
    assert found == ("the kernel has no ESP for IPv4: module esp4 does not load; try: modprobe esp4",)


def test_no_interface(modules):
    said = "Cannot open netlink socket: Protocol not supported\n"
    found = capabilities.missing(GCM, ("v4", "v6"), Kernel(("ip", Result(1, "", said))))
    assert found == ("the kernel takes no SAs: it was built without module xfrm_user",)


def test_no_modules_of_the_running_kernel(here):
    *_, hint = capabilities.missing(GCM, ("v4",), Kernel(("aead", NO_AEAD)))
    assert hint.startswith(f"there is no {here.modules / os.uname().release}: reboot after")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Result(1, "", "unshare: unshare failed: Operation not permitted\n"), "unshare failed.*; needs root"),
        (Result(NOT_FOUND, "", "unshare: No such file or directory"), "No such file"),
        (Result(127, "", "unshare: failed to execute ip: No such file or directory"), "to execute ip"),
        (Result(TIMED_OUT, "", "no end after 15 s: unshare"), "no end after 15 s"),
        (Result(2, "", "Error: something new\n"), "something new"),
        (Result(1, "", ""), "no output"),
    ],
)
def test_what_tells_nothing_is_an_error(modules, answer, said):
    with pytest.raises(capabilities.CapabilityError, match=said):
        capabilities.missing(GCM, ("v4",), Kernel(("unshare", answer)))


def test_every_proposal_is_asked_for():
    names = [one.name for one in kernelnames.transforms("aes256-sha1-sha512,chacha20poly1305!")]
    assert names == ["AES_CBC_256/HMAC_SHA1_96", "AES_CBC_256/HMAC_SHA2_512_256", "CHACHA20_POLY1305"]


def test_what_charon_has_no_kernel_name_for(modules):
    assert capabilities.missing("camellia128ctr-sha1", ("v4",), Kernel()) == (
        "CAMELLIA_CTR_128 cannot be done by a kernel: charon has no name for it there",
    )


def test_every_cipher_and_integrity_algorithm_is_known_or_not_of_a_kernel():
    kinds = (proposals.ENCRYPTION, proposals.INTEGRITY)
    words = [word for word, one in proposals.KEYWORDS.items() if one.kind in kinds]
    unknown = {name for word in words for name in kernelnames.unknown(word)}
    assert {name.rstrip("0123456789").rstrip("_") for name in unknown} == {
        "CAMELLIA_CCM_8",
        "CAMELLIA_CCM_12",
        "CAMELLIA_CCM_16",
        "CAMELLIA_CTR",
        "CAMELLIA_XCBC",
    }


@pytest.mark.parametrize(
    ("charon", "expected"),
    [
        ({}, "kernel"),
        ({"plugins": {"vici": {"load": "yes"}}}, "kernel"),
        ({"plugins": {"kernel-libipsec": {"load": "no"}}}, "kernel"),
        ({"plugins": {"kernel-libipsec": {"allow_peer_ts": "yes"}}}, "kernel"),
        ({"plugins": {"kernel-libipsec": {"load": "yes"}}}, "charon"),
        ({"plugins": {"kernel-libipsec": {"load": "5"}}}, "charon"),
    ],
)
def test_who_does_esp(charon, expected):
    certificates = Certificates("files", "/c", "/k", "/ca", "CN={id}")
    assert plane.chosen(Settings(certificates, charon=charon)) == expected

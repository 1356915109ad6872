"""What encrypts nothing is refused, what is broken by its age needs a word; an SA is judged by its own."""

from __future__ import annotations

import pytest

import fleets
from hostipsec.errors import PillarError
from hostipsec.kernel import ciphers
from hostipsec.pillar import pillar
from hostipsec.strongswan import algorithms, proposals, strength


def problems(**settings):
    """Return what is wrong with the example pillar with other settings; stage of its first rule, if given."""
    data = fleets.example()
    stage = settings.pop("stage", None)
    data["rules"][0] = {**data["rules"][0], **({"stage": stage} if stage else {})}
    try:
        pillar.read({**data, **settings})
    except PillarError as error:
        return [str(one) for one in error.problems]
    return []


WORTHLESS = [
    ("esp", "null-sha256!"),
    ("esp", "aes128gcm16,null-sha256"),
    ("esp", "aes128-null-sha256"),
    ("esp", "aes128gmac!"),
    ("esp", "aes192gmac"),
    ("esp", "aes256gmac-ecp384"),
    ("esp", "aes128gcm16-modpnull"),
    ("esp", "aes128!"),
    ("ike", "null-sha256-modp2048!"),
    ("ike", "aes128gmac-prfsha256-modp2048"),
    ("ike", "aes128-sha256-modpnull"),
    ("ike", "aes128gcm16-prfsha256-ecp256-ke1_modpnull"),
]


@pytest.mark.parametrize("weak", [[], ["des", "3des"]])
@pytest.mark.parametrize(("key", "text"), WORTHLESS)
def test_what_encrypts_nothing_or_has_no_integrity_is_refused_whatever_words_there_are(key, text, weak):
    """``esp: null-sha256!`` was taken, was healthy, and ``verify`` called it encrypted."""
    (said,) = problems(connection={key: text}, weak=weak)
    assert said.startswith(f"ipsec:connection:{key}: ")


WEAK = [
    ("esp", "des-sha256!", "des"),
    ("esp", "3des-sha1", "3des"),
    ("esp", "aes128-md5", "md5"),
    ("esp", "aes128-md5_128", "md5_128"),
    ("esp", "blowfish256-sha256", "blowfish256"),
    ("esp", "cast128-sha256", "cast128"),
    ("esp", "aes128gcm16-modp768", "modp768"),
    ("esp", "aes128gcm16,3des-sha1", "3des"),
    ("ike", "aes128-sha256-modp1024", "modp1024"),
    ("ike", "aes128-sha256-modp1024s160", "modp1024s160"),
    ("ike", "aes128-sha256-ecp192!", "ecp192"),
    ("ike", "aes128gcm16-prfmd5-modp2048", "prfmd5"),
    ("ike", "aes128gcm16-prfsha256-ecp256-ke1_modp768", "modp768"),
]


@pytest.mark.parametrize(("key", "text", "word"), WEAK)
def test_what_is_broken_by_its_age_needs_a_word(key, text, word):
    (said,) = problems(connection={key: text})
    assert said.startswith(f"ipsec:connection:{key}: ")
    assert f"weak: [{word}]" in said
    assert problems(connection={key: text}, weak=[word]) == problems(connection={key: text}, weak=word) == []


def test_one_word_allows_one_algorithm():
    assert len(problems(connection={"ike": "des-md5-modp768"}, weak=["des"])) == 2


@pytest.mark.parametrize("weak", [["null"], ["aes128"], [None], [3], 7, {"des": 1}])
def test_a_word_that_says_nothing_is_an_error(weak):
    (said,) = problems(weak=weak)
    assert said.startswith("ipsec:weak: found")


@pytest.mark.parametrize("shunt", ["pass", "passthrough", "drop", "reject"])
def test_a_shunt_is_no_connection(shunt):
    (said,) = problems(connection={"type": shunt})
    assert said == (
        f"ipsec:connection:type: found '{shunt}'; allowed: transport, tunnel; pass, drop and reject encrypt "
        "nothing: stage 'off' or 'passive', or 'maintenance', takes a pair out"
    )


@pytest.mark.parametrize("stage", ["start", "require"])
@pytest.mark.parametrize(
    ("charon", "path"),
    [
        ({"plugins": {"bypass-lan": {"load": True}}}, "plugins:bypass-lan:load"),
        ({"plugins": {"bypass-lan": {"load": "yes"}}}, "plugins:bypass-lan:load"),
        ({"plugins": {"bypass-lan": {"load": 5}}}, "plugins:bypass-lan:load"),
        ({"load": "aes sha1 bypass-lan! vici"}, "load"),
        ({"plugins": {"bypass-lan": {"load": False}}}, ""),
        ({"plugins": {"bypass-lan": {"interfaces_use": "eth1"}}}, ""),
    ],
)
def test_bypass_lan_beside_require_is_refused(charon, path, stage):
    """Its policies come before those of every connection: what was required went in the clear."""
    said = problems(charon=charon, stage=stage)
    assert [one.partition(": ")[0] for one in said] == (
        [f"ipsec:charon:{path}"] if path and stage == "require" else []
    )


@pytest.mark.parametrize(("family", "other"), [("ipv4", "ipv6"), ("ipv6", "ipv4")])
def test_a_family_without_a_socket_is_refused_where_pairs_have_it(family, other):
    """Pairs of that family came up nowhere, and nothing said why."""
    charon = {"plugins": {"socket-default": {f"use_{family}": False, f"use_{other}": True}}}
    (said,) = problems(charon=charon)
    assert said == (
        f"ipsec:charon:plugins:socket-default:use_{family}: found no, and connections by IPv{family[-1]} "
        "have no socket then, as those of cp1001.eqiad.example with cp2001.codfw.example; allowed: yes; "
        f"or no {family!r} at hosts"
    )
    data = fleets.example()
    for host in data["hosts"].values():
        del host[family]
    assert pillar.read({**data, "charon": charon})


# The proposal of an SA ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shown", "wrong"),
    [
        ("", ""),  # charon does not say
        ("AES_GCM_16_128", ""),
        ("AES_GCM_16_128/ECP_384_BP", ""),
        ("AES_GCM_16_128/ECP_384_BP/ESN", ""),
        ("AES_CBC_256/HMAC_SHA2_384_192/KE1_ML_KEM_768", ""),
        ("CHACHA20_POLY1305", ""),
        ("NULL/HMAC_SHA2_256_128", "NULL encrypts nothing"),
        ("NULL_AES_GMAC_128", "NULL_AES_GMAC_128 encrypts nothing"),
        ("AES_CBC_128", "it has no integrity algorithm"),
        ("AES_CBC_128/ECP_256", "it has no integrity algorithm"),
        ("HMAC_SHA2_256_128", "it has no cipher"),
        ("DES_CBC/HMAC_SHA2_256_128", "DES_CBC is broken by its age"),
        ("AES_CBC_128/HMAC_MD5_96", "HMAC_MD5_96 is broken by its age"),
        ("AES_GCM_16_128/MODP_1024", "MODP_1024 is broken by its age"),
        ("AES_GCM_16_128/KE1_MODP_768", "MODP_768 is broken by its age"),
        ("AES_GCM_16_129", "AES_GCM_16_129 is not known"),
        ("AES_GCM_16_128/(1031)", "AES_GCM_16_128/(1031) is not known"),
    ],
)
def test_the_proposal_of_an_sa(shown, wrong):
    assert strength.wrong(shown, ()) == wrong


def test_the_proposal_of_an_ike_sa():
    assert strength.wrong("AES_GCM_16_128/PRF_HMAC_SHA2_384/ECP_384_BP", (), "ike") == ""
    assert strength.wrong("AES_GCM_16_128/ECP_384_BP", (), "ike") == "it has no PRF"
    weak = "AES_CBC_128/HMAC_MD5_96/PRF_HMAC_MD5/MODP_2048"
    assert strength.wrong(weak, (), "ike") == "HMAC_MD5_96 is broken by its age"
    assert strength.wrong(weak, ("md5",), "ike") == ""


def test_a_word_counts_for_what_it_names_alone():
    assert strength.wrong("3DES_CBC/HMAC_MD5_96", ("3des",)) == "HMAC_MD5_96 is broken by its age"
    assert strength.wrong("3DES_CBC/HMAC_MD5_96", ("3des", "md5")) == ""
    assert strength.wrong("NULL/HMAC_SHA2_256_128", ("null", *strength.WORDS)) == "NULL encrypts nothing"


def test_every_weak_name_is_an_algorithm_and_has_a_word():
    names = {one.name for one in proposals.KEYWORDS.values()}
    assert set(algorithms.WEAK.split()) | set(algorithms.WORTHLESS) <= names
    assert set().union(*strength.WORDS.values()) == set(algorithms.WEAK.split())


@pytest.mark.parametrize(
    "text", ["aes128gcm16-ecp384bp", "aes256-sha384-esn", "chacha20poly1305", "aes128ctr-aesxcbc"]
)
def test_what_charon_shows_of_a_proposal_is_known(text):
    assert [strength.wrong(one, ()) for one in proposals.rendered_esp(text)] == [""]


@pytest.mark.parametrize(
    ("shown", "text", "fits"),
    [
        ("AES_GCM_16_128", "aes128gcm16-ecp384bp-noesn!", True),  # the first one takes its keys from IKE
        ("AES_GCM_16_128/ECP_384_BP", "aes128gcm16-ecp384bp-noesn!", True),
        ("AES_GCM_16_128/ECP_256", "aes128gcm16-ecp384bp-noesn!", False),
        ("AES_GCM_16_256", "aes128gcm16-ecp384bp-noesn!", False),
        ("AES_GCM_16_256", "aes128gcm16-ecp384bp-noesn", True),  # charon's own are allowed
        ("AES_GCM_16_256", "aes128gcm16,aes256gcm16-ecp384!", True),
        ("AES_CBC_256/HMAC_SHA2_384_192/ESN", "aes128-aes256-sha256-sha384-esn!", True),
        ("AES_CBC_256/HMAC_SHA2_512_256", "aes128-aes256-sha256-sha384!", False),
        ("AES_CBC_256", "aes256-sha256!", False),
        ("", "aes256-sha256!", True),
    ],
)
def test_whether_a_proposal_is_a_configured_one(shown, text, fits):
    assert strength.configured(shown, text) is fits


def test_whether_that_of_an_ike_sa_is():
    text = "aes128gcm16-prfsha384-ecp384bp,aes128-sha256-modp2048!"
    for shown in (
        "AES_GCM_16_128/PRF_HMAC_SHA2_384/ECP_384_BP",
        "AES_CBC_128/HMAC_SHA2_256_128/PRF_HMAC_SHA2_256/MODP_2048",
    ):
        assert strength.configured(shown, text, "ike")
    for shown in ("AES_GCM_16_128/PRF_HMAC_SHA2_384", "AES_GCM_16_128/PRF_HMAC_SHA2_256/ECP_384_BP"):
        assert not strength.configured(shown, text, "ike")


@pytest.mark.parametrize(
    ("algorithm", "wrong"),
    [
        ("", ""),
        ("rfc4106(gcm(aes))", ""),
        ("hmac(sha256)/cbc(aes)", ""),
        ("rfc7539esp(chacha20,poly1305)", ""),
        ("xcbc(aes)/rfc3686(ctr(aes))", ""),
        ("hmac(sha256)/ecb(cipher_null)", "hmac(sha256)/ecb(cipher_null) encrypts nothing"),
        ("digest_null/ecb(cipher_null)", "digest_null/ecb(cipher_null) encrypts nothing"),
        ("rfc4543(gcm(aes))", "rfc4543(gcm(aes)) encrypts nothing"),
        ("hmac(sha256)", "hmac(sha256) encrypts nothing"),
        ("cbc(aes)", "cbc(aes) has no integrity"),
        ("digest_null/cbc(aes)", "digest_null/cbc(aes) has no integrity"),
        ("hmac(sha1)/cbc(des)", "hmac(sha1)/cbc(des) is broken by its age"),
        ("hmac(sha1)/cbc(des3_ede)", "hmac(sha1)/cbc(des3_ede) is broken by its age"),
        ("hmac(md5)/cbc(aes)", "hmac(md5)/cbc(aes) is broken by its age"),
    ],
)
def test_the_algorithms_of_an_sa_of_the_kernel(algorithm, wrong):
    assert ciphers.wrong(algorithm, ()) == wrong


def test_a_word_of_the_pillar_counts_for_the_kernel_too():
    assert ciphers.wrong("hmac(sha1)/cbc(des3_ede)", ("3des",)) == ""
    assert ciphers.wrong("hmac(md5)/cbc(des3_ede)", ("3des",)) != ""
    assert ciphers.wrong("hmac(md5)/cbc(blowfish)", ("md5_128", "md5", "blowfish256")) == ""

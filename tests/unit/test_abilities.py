"""What a host's charon can do of what the pillar proposes: the rest is left out, or an error says why not."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from hostipsec.apply import able, trial
from hostipsec.charon import charon, listing
from hostipsec.errors import CharonError, ConfigError
from hostipsec.strongswan import abilities, proposals, strength
from hostipsec.strongswan.sections import Configuration

PQ, CLASSIC = "aes256gcm16-prfsha384-ecp384-ke1_mlkem768", "aes256gcm16-prfsha384-ecp384"
BOTH = f"{PQ},{CLASSIC}!"
# of what strongSwan 5.9.8 lists with Debian 12's plugins
_LISTED = """AES_CBC AES_CTR AES_GCM_8 AES_GCM_12 AES_GCM_16 CHACHA20_POLY1305 HMAC_SHA1_96 HMAC_SHA2_256_128
HMAC_SHA2_384_192 PRF_HMAC_SHA1 PRF_HMAC_SHA2_256 PRF_HMAC_SHA2_384 MODP_2048 ECP_384 ECP_384_BP
CURVE_25519"""
LISTED = frozenset(_LISTED.split())
CAMELLIA = ["CAMELLIA_CBC", "CURVE_448"]
SHA512 = ["HMAC_SHA2_512_256", "PRF_HMAC_SHA2_512"]
NONE = ["ML_KEM_768", abilities.ADDITIONAL]
QUANTUM = LISTED | {*NONE}


def value(ike=BOTH, esp="aes128gcm16-ecp384-noesn!", **connections):
    common = {"ike": ike, "esp": esp, "type": "transport"}
    return Configuration(defaults=common, connections={"z_v4": {"left": "10.0.0.2"}, **connections})


@pytest.mark.parametrize(
    ("key", "text", "rest", "lacking"),
    [
        ("ike", BOTH, f"{CLASSIC}!", NONE),
        ("ike", f"{PQ}, {CLASSIC}", CLASSIC, NONE),
        ("ike", f"{CLASSIC}!", f"{CLASSIC}!", []),
        ("ike", f"{PQ}!", "", NONE),
        # of several of a kind, what charon has stays
        ("ike", "aes128-camellia128-sha256-x25519-x448!", "aes128-sha256-x25519!", CAMELLIA),
        ("ike", f"{PQ}-ke1_none!", f"{CLASSIC}!", NONE),  # a word that 5.9 does not know
        # the PRF that follows from an integrity algorithm
        ("ike", "aes128-sha512-x25519,aes128-sha256-x25519!", "aes128-sha256-x25519!", SHA512),
        ("ike", "aes128-sha512-prfsha256-x25519!", "", ["HMAC_SHA2_512_256"]),
        # of ESP charon has the key exchange; the rest is the kernel's
        ("esp", "aes128ccm16-ecp384bp,serpent-sha512-x448-noesn!", "aes128ccm16-ecp384bp!", ["CURVE_448"]),
        ("esp", "aes128gcm16-ecp384-ke1_mlkem768-esn,aes128gcm16!", "aes128gcm16!", NONE),
        ("esp", "aes128gcm16-esn!", "aes128gcm16-esn!", []),
    ],
)  # fmt: skip
def test_those_proposals_stay_that_charon_can_do(key, text, rest, lacking):
    found, left = abilities.possible(key, text, LISTED)
    assert found == rest
    assert sorted({name for one in left for name in one.lacking}) == lacking
    assert not rest or not proposals.faults(rest, key)


def test_who_can_do_all_is_given_all():
    assert abilities.limited(value(), QUANTUM) == (value(), ())
    assert abilities.needed(value()) == {"AES_GCM_16", "PRF_HMAC_SHA2_384", "ECP_384", *NONE}


def test_connections_of_their_own_options_are_limited_as_well():
    found, left = abilities.limited(
        value(f"{CLASSIC}!", a_v4={"ike": BOTH}, b_v4={"left": "10.0.0.1"}), LISTED
    )
    assert found == value(f"{CLASSIC}!", a_v4={"ike": f"{CLASSIC}!"}, b_v4={"left": "10.0.0.1"})
    assert [str(one) for one in left] == [f"ike {PQ} (no ML_KEM_768, additional key exchanges)"]


def test_what_no_connection_has_is_no_obstacle():
    """Every connection has proposals of a rule: that nothing is left of those of all says nothing."""
    found = Configuration(defaults={"ike": f"{PQ}!"}, connections={"a_v4": {"ike": BOTH}})
    assert abilities.impossible(found, LISTED) == ()
    limited, left = abilities.limited(found, LISTED)
    assert limited.connections == {"a_v4": {"ike": f"{CLASSIC}!"}}
    assert [str(one) for one in left] == [f"ike {PQ} (no ML_KEM_768, additional key exchanges)"]
    assert abilities.needed(Configuration(defaults={"ike": BOTH})) == frozenset()


def test_nothing_left_of_an_option_is_told_with_what_is_lacking():
    found = value(f"{PQ}!", a_v4={"esp": "aes128gcm16-x448!"})
    assert abilities.impossible(value(), LISTED) == ()
    assert [(one.key, one.lacking) for one in abilities.impossible(found, LISTED)] == [
        ("esp", ("CURVE_448",)),
        ("ike", tuple(NONE)),
    ]
    assert proposals.needs("ML_KEM_768") == "ML_KEM_768 needs plugin botan, ml, openssl or wolfssl"
    assert proposals.needs("AES_GCM_16") == "AES_GCM_16 needs plugin aesni, botan, gcm, openssl or wolfssl"


def test_lists_of_both_back_ends():
    text = "\n  encryption: AES_CBC[aesni] 3DES_CBC[openssl]\n       NULL[openssl]\n  nonce-gen: [nonce]\n"
    assert listing.of_text(text, "5.9.8") == {"AES_CBC", "3DES_CBC", "NULL"}
    assert listing.of_text(text, "6.0.1") == {"AES_CBC", "3DES_CBC", "NULL", abilities.ADDITIONAL}
    assert listing.of_answer(
        {"dh": {"ECP_384": b"openssl"}, "prf": {"PRF_HMAC_SHA1": b"hmac"}, "x": b"y"}
    ) == {
        "ECP_384",
        "PRF_HMAC_SHA1",
    }


def test_strongswan_5_knows_no_additional_exchanges():
    """It has the algorithm, and drops the connection for the word all the same."""
    text = "aes128gcm16-prfsha384-ecp384-ke1_x25519,aes128gcm16-prfsha384-ecp384!"
    assert abilities.possible("ike", text, LISTED)[0] == "aes128gcm16-prfsha384-ecp384!"
    assert abilities.possible("ike", text, QUANTUM) == (text, ())
    assert abilities.ADDITIONAL in listing.of_answer({"ke": {}})


# What is asked on a host ----------------------------------------------------------------------


@pytest.fixture
def host(here, monkeypatch):
    """Return a host whose charon lists LISTED, and how often one was tried."""
    here.starter.parent.mkdir(parents=True)
    here.starter.touch()
    here.plugins.mkdir()
    (here.strongswan_d / "charon").mkdir(parents=True)
    here.charon_pid.touch()
    found = SimpleNamespace(running=LISTED, new=LISTED, tried=0, here=here)

    def running():
        if found.running is None:
            raise CharonError("charon is not running")
        return found.running

    def new(strongswan_d, below, by):
        assert by == "ipsec.conf"
        assert Path(below).is_dir()
        found.tried += 1
        if isinstance(found.new, Exception):
            raise found.new
        return found.new

    monkeypatch.setattr(charon, "algorithms", running)
    monkeypatch.setattr(trial, "algorithms", new)
    started(here, later=True)
    return found


def started(here, later):
    """Have charon started later than its plugins came, or before."""
    second = here.plugins.stat().st_ctime + (able.STARTING + 5 if later else -5)
    os.utime(here.charon_pid, (second, second))


def want(ike=BOTH):
    from hostipsec.apply.configuration import Wanted
    from hostipsec.store.record import Record

    return Wanted((), value(ike), Record(), {})


def test_a_charon_that_had_all_plugins_is_believed(host):
    found = able.limited(want(), "cp1.example")
    assert found.configuration == value(f"{CLASSIC}!")
    assert f"ike={CLASSIC}!".encode() in found.files[host.here.conf]
    assert found.left == (f"ike {PQ} (no ML_KEM_768, additional key exchanges)",)
    assert host.tried == 0


def test_nothing_changes_where_charon_can_do_all(host):
    host.running = QUANTUM
    started(host.here, later=False)
    assert able.limited(want(), "cp1.example") == want()
    assert host.tried == 0


@pytest.mark.parametrize("running", [frozenset({"AES_CBC"}), LISTED, None])
def test_one_that_starts_now_is_asked_where_plugins_came_later(host, running):
    """Debian 12 starts charon before it has unpacked the plugin that has GCM and curves."""
    host.running, host.new = running, QUANTUM
    started(host.here, later=False)
    assert able.limited(want(), "cp1.example") == want()
    host.new = LISTED
    assert able.limited(want(), "cp1.example").configuration == value(f"{CLASSIC}!")
    assert host.tried == 2


@pytest.mark.parametrize("after", [0.1, -0.013, able.STARTING / -2])
def test_one_that_starts_now_is_asked_where_what_loads_plugins_came_later(host, after):
    """dpkg had unpacked all plugins, and put openssl.conf below /etc in place 0.1 s after charon's start.

    Or 13 ms before charon wrote its pid file, when it had looked for plugins already.
    """
    host.running, host.new = frozenset({"AES_CBC"}), QUANTUM
    second = host.here.charon_pid.stat().st_mtime + after
    os.utime(host.here.strongswan_d / "charon", (second, second))
    assert able.limited(want(), "cp1.example") == want()
    assert host.tried == 1


@pytest.mark.parametrize("new", [None, frozenset(), ConfigError("charon does not start")])
def test_nothing_is_left_out_where_it_cannot_be_told(host, new):
    host.running, host.new = None, new
    assert able.limited(want(), "cp1.example") == want()
    host.here.starter.unlink()  # nothing is installed yet
    assert able.limited(want(), "cp1.example") == want()
    assert host.tried == 1


def test_an_error_names_host_proposal_and_algorithm(host):
    with pytest.raises(ConfigError) as error:
        able.limited(want(f"{PQ}!"), "cp1.example")
    assert str(error.value) == (
        f"cp1.example cannot do what the pillar proposes: ike {PQ}: "
        "ML_KEM_768 needs plugin botan, ml, openssl or wolfssl; additional key exchanges need strongSwan 6"
    )


# How SAs are judged ---------------------------------------------------------------------------

SHOWN = "AES_GCM_16_256/PRF_HMAC_SHA2_384/ECP_384"


def test_an_sa_without_the_additional_exchange_is_not_what_asks_for_it():
    """The additional exchange counted as one of a kind with the first: a classic SA passed for both."""
    assert strength.configured(f"{SHOWN}/KE1_ML_KEM_768", f"{PQ}!", "ike")
    assert not strength.configured(SHOWN, f"{PQ}!", "ike")
    assert strength.configured(SHOWN, BOTH, "ike")
    assert not strength.configured(f"{SHOWN}/KE1_ML_KEM_768", f"{CLASSIC}!", "ike")
    assert strength.configured(SHOWN, f"{PQ}-ke1_none!", "ike")


def test_children_of_additional_exchanges():
    text = "aes256gcm16-ecp384-ke1_mlkem768!"
    first, rekeyed = "AES_GCM_16_256", "AES_GCM_16_256/ECP_384/KE1_ML_KEM_768"
    assert strength.configured(first, text) and strength.configured(rekeyed, text)
    assert not strength.configured("AES_GCM_16_256/ECP_384", text)


@pytest.mark.parametrize(
    ("shown", "said"),
    [
        (f"{SHOWN}/KE1_ML_KEM_768", True),
        (SHOWN, False),
        ("AES_CBC_128/HMAC_SHA2_256_128/PRF_HMAC_SHA2_256/ML_KEM_512", True),
        ("AES_GCM_16_128/PRF_HMAC_SHA2_256/CURVE_25519/KE1_ECP_384", False),
        ("", None),
    ],
)
def test_which_keys_no_quantum_computer_finds(shown, said):
    assert abilities.post_quantum(shown) is said

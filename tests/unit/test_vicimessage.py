"""vici's answers as values, and that they are those of the text of the same moment."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vici.protocol import FiniteStream, Message

import recordings
from hostipsec.charon import vicimessage
from hostipsec.errors import CharonError
from hostipsec.model import IkeSA, LoadedConnection


def in_bytes(value):
    """Return an answer as the library gives it: bytes in mappings and lists."""
    if isinstance(value, dict):
        return {key: in_bytes(item) for key, item in value.items()}
    return [in_bytes(item) for item in value] if isinstance(value, list) else value.encode()


@pytest.mark.parametrize("name", recordings.ALL)
def test_vici_and_text_of_one_moment_give_the_same_value(name):
    vici, text = recordings.vici(name), recordings.stroke(name)
    assert (vici.backend, text.backend) == ("vici", "stroke")
    assert recordings.whoever_asks(text) == recordings.whoever_asks(recordings.as_text_says(vici))


# Values --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", recordings.ALL)
def test_bytes_are_read_as_text(name):
    assert vicimessage.charon(**in_bytes(recordings.answers(name))) == recordings.vici(name)


@pytest.mark.parametrize("version", recordings.VERSIONS)
def test_a_charon_with_two_connections_up(version):
    found = recordings.vici(f"{version}-transport")
    assert (found.version, found.backend, found.workers_total) == (version, "vici", 16)
    assert {"vici", "stroke", "kernel-netlink", "openssl"} <= {*found.plugins}
    assert found.routed == ("trap_v4",)
    assert [connection.name for connection in found.connections] == ["west_v4", "west_v6", "trap_v4"]
    assert found.connections[1] == LoadedConnection(
        "west_v6",
        *(("fd00::1",), ("fd00::2",), "CN=east.example", "CN=west.example", ("west_v6",), ("TRANSPORT",)),
    )
    first = next(sa for sa in found.ike_sas if sa.name == "west_v4")
    assert (first.state, first.initiator) == ("ESTABLISHED", True)
    assert (first.local_host, first.remote_host) == ("10.9.0.1", "10.9.0.2")
    assert (first.local_id, first.remote_id) == ("CN=east.example", "CN=west.example")
    assert first.proposal == "AES_GCM_16_128/PRF_HMAC_SHA2_384/ECP_384_BP"
    (child,) = first.children
    assert (child.name, child.state, child.mode, child.protocol) == (
        "west_v4",
        "INSTALLED",
        "TRANSPORT",
        "ESP",
    )
    assert (child.bytes_in, child.bytes_out, child.packets_in, child.packets_out) == (126, 42, 3, 3)
    assert (child.local_ts, child.remote_ts) == (("10.9.0.1/32",), ("10.9.0.2/32",))
    assert not child.udp_encap
    assert child.proposal == "AES_GCM_16_128"


@pytest.mark.parametrize("version", recordings.VERSIONS)
def test_the_group_is_in_a_childs_proposal_once_it_was_rekeyed(version):
    children = {
        child.state: child.proposal
        for sa in recordings.vici(f"{version}-transport-rekeyed").ike_sas
        for child in sa.children
        if sa.name == "west_v4"
    }
    assert children == {"DELETED": "AES_GCM_16_128", "INSTALLED": "AES_GCM_16_128/ECP_384_BP"}


@pytest.mark.parametrize("version", recordings.VERSIONS)
def test_both_ends_name_the_same_spis(version):
    def spis(name):
        return {
            (sa.initiator_spi, sa.responder_spi, child.spi_in, child.spi_out)
            for sa in recordings.vici(f"{version}-{name}").ike_sas
            for child in sa.children
        }

    mirrored = {(initiator, responder, o, i) for initiator, responder, i, o in spis("up-responder")}
    assert len(mirrored) == 2
    assert spis("up") == mirrored


def test_proposals_of_other_kinds():
    """AEAD algorithms have no integrity algorithm; additional key exchanges come with strongSwan 6."""
    ike = {
        "encr-alg": "AES_CBC",
        "encr-keysize": "256",
        "integ-alg": "HMAC_SHA2_256_128",
        "prf-alg": "PRF_HMAC_SHA2_256",
        "dh-group": "CURVE_25519",
        "ake1": "ML_KEM_768",
    }
    child = {"encr-alg": "AES_CBC", "encr-keysize": "128", "integ-alg": "HMAC_SHA2_256_128", "esn": "1"}
    (found,) = charon([{"a": {"uniqueid": "1", **ike, "child-sas": {"a-1": child}}}]).ike_sas
    assert found.proposal == "AES_CBC_256/HMAC_SHA2_256_128/PRF_HMAC_SHA2_256/CURVE_25519/KE1_ML_KEM_768"
    assert found.children[0].proposal == "AES_CBC_128/HMAC_SHA2_256_128/ESN"


def test_an_sa_that_is_up_is_told_with_its_proposal():
    """Without one there was nothing to be judged by its ciphers."""
    assert charon([{"a": {"uniqueid": "1", "state": "CONNECTING"}}]).ike_sas
    with pytest.raises(CharonError, match="cannot be read"):
        charon([{"a": {"uniqueid": "1", "state": "ESTABLISHED"}}])
    up = {"uniqueid": "1", "state": "ESTABLISHED", "encr-alg": "AES_GCM_16", "encr-keysize": "128"}
    child = {**INSTALLED, "encr-alg": "AES_GCM_16", "encr-keysize": "128"}
    assert charon([{"a": {**up, "child-sas": {"a-1": child}}}]).ike_sas[0].children
    with pytest.raises(CharonError, match="cannot be read"):
        charon([{"a": {**up, "child-sas": {"a-1": INSTALLED}}}])


INSTALLED = {
    "name": "a",
    "state": "INSTALLED",
    "reqid": "1",
    "spi-in": "c0000001",
    "spi-out": "c0000002",
    "local-ts": ["10.0.0.1/32"],
    "remote-ts": ["10.0.0.2/32"],
}


def test_what_charon_leaves_out():
    found = charon([{"(unnamed)": {"uniqueid": "7", "state": "CONNECTING", "tasks-active": ["IKE_INIT"]}}])
    assert found.ike_sas == (IkeSA("(unnamed)", 7, "CONNECTING", "", "", tasks=("IKE_INIT",)),)
    assert (found.uptime, found.workers_total, found.plugins) == (None, None, ())


def test_a_time_that_has_come_is_zero():
    (found,) = charon([{"a": {"uniqueid": "1", "rekey-time": "-5", "established": "9"}}]).ike_sas
    assert (found.rekey_time, found.established, found.reauth_time) == (0, 9, None)


def charon(sas):
    return vicimessage.charon({"version": "6.0.1"}, {}, [], sas)


# Malformed -----------------------------------------------------------------------------------

WHOLE = {"version", "stats", "conns", "sas", "policies"}
NONSENSE = (None, 7, 1.5, [], {}, "x", b"\xff", "1" * 5000, "٣", "1_0", " 1 ", [None], [{}], {1: {}})


@pytest.mark.parametrize("key", sorted(WHOLE))
@pytest.mark.parametrize("nonsense", NONSENSE, ids=lambda one: repr(one)[:20])
def test_a_malformed_message_is_told_by_what_charon_answers_badly_alone(key, nonsense):
    whole = recordings.answers("5.9.8-transport")
    nested = whole[key][0] if isinstance(whole[key], list) else whole[key]
    for value in (nonsense, *({**nested, one: nonsense} for one in nested)):
        given = value if not isinstance(whole[key], list) or value is nonsense else [value]
        with contextlib.suppress(CharonError):
            vicimessage.charon(**{**whole, key: given})


@pytest.mark.parametrize("number", ["1" * 21, "1_0", "٣", " 7", "", "x", None, 7, [], "5000 Sekunden"])
def test_what_is_no_number_is_told(number):
    with pytest.raises(CharonError, match="cannot be read"):
        vicimessage.charon(stats={"workers": {"total": number}})


@pytest.mark.parametrize("span", ["3 Minuten", "1" * 5000 + " seconds", "minutes", "٣ minutes", "1 2 3"])
def test_a_span_in_other_words_is_told(span):
    with pytest.raises(CharonError, match="cannot be read"):
        vicimessage.charon(stats={"uptime": {"running": span}})


NAMES, VALUES = st.text(max_size=60), st.binary(max_size=300)
MESSAGES = st.recursive(
    st.dictionaries(NAMES, VALUES | st.lists(VALUES, max_size=4), max_size=5),
    lambda inner: st.dictionaries(NAMES, VALUES | st.lists(VALUES, max_size=4) | inner, max_size=4),
    max_leaves=8,
)


@given(MESSAGES)
def test_a_message_is_read_as_the_library_reads_it(message):
    raw = Message.serialize(message)
    assert vicimessage.decoded(raw) == Message.deserialize(FiniteStream(raw)) == message


WHOLE = Message.serialize({"cp1_v4": {"uniqueid": "7", "local_addrs": ["10.0.0.1", "10.0.0.2"]}})


@pytest.mark.parametrize(
    "raw",
    [*(WHOLE[:end] for end in range(1, len(WHOLE))), WHOLE + b"\2", WHOLE + b"\6", WHOLE + b"\5\0\0"],
)
def test_what_is_cut_off_or_out_of_place_is_no_message(raw):
    with pytest.raises((ValueError, IndexError)):
        vicimessage.decoded(raw)

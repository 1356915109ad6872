"""What holds where the pillar does not say otherwise, each with its reason."""

from __future__ import annotations

from collections.abc import Mapping

# ipsec.conf, section `conn %default` (FIELD-NOTES of production, with its mistakes mended)
CONNECTION: Mapping[str, str] = {
    "type": "transport",
    "keyexchange": "ikev2",
    "ike": "aes128gcm16-prfsha384-ecp384bp!",
    "esp": "aes128gcm16-ecp384bp-noesn!",
    "mobike": "no",  # addresses come from the pillar and do not move
    "keyingtries": "%forever",
    "margintime": "13m",  # times up to 2 by rekeyfuzz: a fleet that starts together spreads its rekeys
    "reauth": "no",  # reauthentication breaks before it makes; IKE rekeying does not
    "replay_window": "128",  # 32, strongSwan's default, is small for fast or reordering paths
    "leftsendcert": "always",  # no end needs certificates of its peers on disk
}

# what starter, and charon after it, take of a connection where nothing is said, of what can be said for all
# (confread.c, conn_defaults; starterstroke.c and stroke_config.c for what is 0 there)
STARTER: Mapping[str, str] = {
    "aggressive": "no",
    "authby": "pubkey",
    "closeaction": "none",
    "compress": "no",
    "dpddelay": "30s",
    "dpdtimeout": "150s",
    "forceencaps": "no",
    "fragmentation": "yes",
    "ikedscp": "000000",
    "ikelifetime": "3h",
    "inactivity": "0",
    "installpolicy": "yes",
    "leftallowany": "no",
    "leftfirewall": "no",
    "lefthostaccess": "no",
    "leftikeport": "500",
    "lifebytes": "0",
    "lifepackets": "0",
    "lifetime": "1h",
    "marginbytes": "0",
    "marginpackets": "0",
    "margintime": "9m",
    "mediation": "no",
    "modeconfig": "pull",
    "rekey": "yes",
    "rekeyfuzz": "100%",
    "rightallowany": "no",
    "rightikeport": "500",
    "rightsendcert": "ifasked",
    "sha256_96": "no",
    "tfc": "0",
}

# a certificate or CA that expires earlier is warned of, from `certificates:warn_days`
WARN_DAYS = 30

# ipsec.conf, `config setup`: what strongSwan's source recommends to see why a tunnel fails
CHARONDEBUG: Mapping[str, int] = {"cfg": 2, "dmn": 2}

# strongswan.conf, below charon. strongSwan waits timeout * base^i after try i: 2 * 1.2^i for
# 15 retransmissions is about 175 s; `retransmit_limit` is left alone.
RETRANSMISSION: Mapping[str, str] = {
    "retransmit_tries": "15",
    "retransmit_timeout": "2.0",
    "retransmit_base": "1.2",
    "retransmit_jitter": "20",  # per cent: hosts that lose one peer together do not retry together
}


def charon(peers: int) -> dict[str, object]:
    """Return the settings below ``charon`` in strongswan.conf for a host with that many peers."""
    connections = 2 * peers  # one an address family
    return {
        **RETRANSMISSION,
        "make_before_break": "yes",
        "close_ike_on_child_failure": "yes",
        # half-open IKE SAs of all peers before charon asks for cookies, a round trip more (default 30): a
        # restart meets all peers at once, each from two addresses, and the attempts before may be there yet
        "cookie_threshold": str(max(30, 2 * connections)),
        # half-open IKE SAs of one address before charon drops its packets (default 5). One address has one
        # connection, but a peer that restarts, its keeper (each 5 s) and an operator start it anew while
        # those before are half open (30 s); a forged address gets no further than the cookies
        "block_threshold": str(max(10, connections)),
        "threads": str(min(64, max(16, 16 + connections // 8))),
        # of them, kept free for what answers peers and the operator when jobs that wait take all others
        "processor": {"priority_threads": {"high": "1", "medium": "4"}},
        "ikesa_table_size": str(_power_of_two(connections)),
        "ikesa_table_segments": str(min(16, max(1, _power_of_two(connections) // 8))),
    }


# the same of a host that blocks what goes in the clear: the plugin's policies for its own networks come
# before those of every connection, and the file of the plugin's package, or another before ours, may load it
REQUIRED: Mapping[str, object] = {"plugins": {"bypass-lan": {"load": "no"}}}


def _power_of_two(number: int) -> int:
    """Return the power of two at or above a number: charon rounds its hash tables likewise."""
    return 1 << max(0, (number - 1).bit_length())


SYSCTL: Mapping[str, str] = {
    # packets that meet a trap while its SA is negotiated wait (up to 100 a policy) and are not dropped
    "net.core.xfrm_larval_drop": "0",
}

# what the kernel has where nobody set it
SYSCTL_KERNEL: Mapping[str, str] = {"net.core.xfrm_larval_drop": "1"}

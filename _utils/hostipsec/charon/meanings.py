"""What charon's messages mean for a connection that does not come up (strongSwan 5.9.1, 5.9.8, 6.0.1).

The patterns are strongSwan's own texts: of ``libcharon/sa/ikev2``, ``network/receiver.c``,
``control/controller.c``, ``kernel_netlink_ipsec.c``, and of libstrongswan's ``credential_manager.c``,
``auth_cfg.c`` and its plugins revocation, constraints and x509.
"""

from __future__ import annotations

from typing import NamedTuple

# what a message is beside others of the same connection
FOLLOWS = 1  # it follows from what was said before, and tells nothing where that is known
WAITING = 0  # nothing is decided yet
PLAIN = 2

REFUSED = (
    "the peer refused (NO_PROPOSAL_CHOSEN): it does not have this host, holds it down, or shares no IKE "
    "proposal with it"
)
IGNORES = "this host ignores what its peers begin: "
_SILENT = "off, unreachable, or UDP 500/4500 is filtered"
_RAISE = "; see who begins so many, or raise"


class Meaning(NamedTuple):
    """What a message means: ``sentence`` has the groups of ``pattern`` by name."""

    pattern: str  # compiled by whoever searches: most commands never do
    sentence: str
    rank: int = PLAIN


def _all(rank: int, *pairs: tuple[str, str]) -> tuple[Meaning, ...]:
    return tuple(Meaning(pattern, sentence, rank) for pattern, sentence in pairs)


_INIT = _all(
    PLAIN,
    (r"received NO_PROPOSAL_CHOSEN notify error", REFUSED),
    (
        r"received AUTHENTICATION_FAILED notify error",
        "the peer refused to authenticate this host (AUTHENTICATION_FAILED): it does not trust this "
        "certificate, or expects another identity",
    ),
    (
        r"requested (?:DH group|key exchange method) (?P<what>\S+) not contained in any",
        "the peer asks for key exchange group {what}, which no proposal of this host has",
    ),
    (
        r"(?:configured|requested|negotiated|selected) (?:DH group|key exchange method) (?P<what>\S+) "
        r"not supported",
        "charon of this host cannot do key exchange group {what}: a plugin is missing, or not loaded",
    ),
    (
        r"(?:ENCRYPTION|INTEGRITY|PSEUDO_RANDOM|KEY_EXCHANGE|DIFFIE)\S* (?P<what>\S+) .*not supported!"
        r"|algorithm (?P<kernel>\S+) not supported by kernel!",
        "neither charon nor the kernel of this host can do {what}{kernel}: a plugin or a module is missing",
    ),
    (
        r"giving up after (?P<tries>\d+) retries",
        "the peer asks for a cookie, or for another key exchange group, again and again ({tries} tries): it "
        "is busy with half-open IKE SAs, or the two share no group",
    ),
    (
        r"ignoring IKE_SA setup from \S+ (?P<what>per-IP half-open) IKE_SA limit of (?P<most>\d+) reached",
        f"{IGNORES}{{most}} IKE SAs of the peer are half open{_RAISE} charon.block_threshold",
    ),
    (
        r"ignoring IKE_SA setup from \S+ half-open IKE_SA limit of (?P<most>\d+) reached",
        f"{IGNORES}{{most}} IKE SAs are half open{_RAISE} charon.init_limit_half_open",
    ),
    (
        r"ignoring IKE_SA setup from \S+ job load of (?P<count>\d+) exceeds limit of (?P<most>\d+)",
        f"{IGNORES}{{count}} jobs wait{_RAISE} charon.init_limit_job_load ({{most}})",
    ),
    (
        r"ignoring \S+ hitting IKE_SA limit \((?P<most>\d+)\)",
        f"{IGNORES}it has {{most}} IKE SAs, as many as it may{_RAISE} charon.ikesa_limit",
    ),
    (
        r"abort IKE_SA initiation, (?P<what>half open IKE_SA count|job load) of (?P<count>\d+) exceeds limit "
        r"of (?P<most>\d+)",
        "this host begins nothing more: {what} is {count}, over the limit of {most} "
        "(charon.init_limit_half_open, charon.init_limit_job_load)",
    ),
)

_AUTH = _all(
    PLAIN,
    (
        r"subject certificate invalid \(valid from (?P<start>.*) to (?P<end>.*)\)",
        "the peer's certificate is valid from {start} to {end} only",
    ),
    (
        r"issuer certificate invalid \(valid from (?P<start>.*) to (?P<end>.*)\)",
        "the peer's CA certificate is valid from {start} to {end} only",
    ),
    (r"no issuer certificate found for \"?(?P<who>[^\"]*)\"?", "no CA here for the certificate of {who}"),
    (
        r"self-signed certificate \"(?P<who>.*)\" is not trusted",
        "the peer's certificate is of {who}, a CA that this host does not have",
    ),
    (
        r"certificate was revoked on (?P<when>.*), reason: (?P<why>.*)",
        "the peer's certificate is revoked, since {when} ({why})",
    ),
    (r"certificate was revoked", "the peer's certificate is revoked"),
    (
        r"constraint check failed: RULE_(?:CRL|OCSP)_VALIDATION is (?P<found>\S+), but requires at least",
        "whether the peer's certificate is revoked cannot be told here ({found}: STALE is a CRL that is "
        "over, FAILED and SKIPPED are none), and strictcrlpolicy asks for it; see: ipsec listcrls",
    ),
    (
        r"(?P<said>certificate '.*' (?:does not match permitted|matches excluded) name constraint '.*'"
        r"|intermediate CA '.*' does not inherit (?:permitted|excluded) name constraint '.*'"
        r"|(?:excluded )?\S+ NameConstraint (?:not supported|matching not implemented)"
        r"|path length of \d+ violates constraint of \d+|maximum path length of \d+ exceeded"
        r"|found policyMapping in certificate .*|policy \S+ missing in issuing certificate .*"
        r"|certificate '.*' maps policy from .*, but issuer misses it|constraint requires cert policy .*)",
        "the peer's certificates do not keep to what their CAs allow: {said}",
    ),
    (
        r"constraint check failed: peer not authenticated by CA '(?P<who>.*)'",
        "the peer's certificate is of another CA than {who}, to which peers are bound",
    ),
    (
        r"constraint check failed: (?:EAP )?identity '(?P<who>.*?)'(?: \(\S+\))? required"
        r"|constraint check failed: certificate does not confirm identity '(?P<other>.*?)'",
        "the peer is not who it should be: {who}{other} is expected",
    ),
    (
        r"received IDr (?P<found>.*), but require (?P<mine>.*)",
        "the peer expects {found} here, this is {mine}",
    ),
    (
        r"(?P<said>\S+(?: signature scheme \S+ not acceptable|-\d+ signatures not acceptable)"
        r"|constraint (?:requires .*, but .* was used|check failed: .*))",
        "the peer's authentication is not what this host asks for: {said}",
    ),
    (
        r"critical '(?P<what>.*)' extension not supported"
        r"|unsupported critical X.509 extension: (?P<oid>.*)",
        "the peer's certificate has a critical extension that charon does not know: {what}{oid}",
    ),
    (
        r"rejecting certificate without digitalSignature",
        "the peer's certificate may not be used to sign (its keyUsage)",
    ),
    (r"no private key found for '(?P<who>.*)'", "this host has no private key for {who}"),
    (
        r"no shared key found for '(?P<mine>.*)' - '(?P<who>.*)'",
        "this host has no shared key for {who}",
    ),
    (
        r"tried \d+ shared keys? for '.*' - '(?P<who>.*)', but MAC mismatched",
        "the shared key is another one at {who}",
    ),
    (
        r"(?P<said>no common hash algorithm found to create signature with \S+ key"
        r"|unable to create \S+ signature for \S+ key|\d+ bit ECDSA private key size not supported"
        r"|private key of type \S+ not supported)",
        "this host cannot sign with its key: {said}",
    ),
    (
        r"canceling IKE_SA setup due to uniqueness policy",
        "this host has an IKE SA with the peer already, and takes no second one (uniqueids)",
    ),
    (r"authorization hook forbids IKE_SA", "a plugin of charon on this host forbids it (authorization hook)"),
    (r"peer requested EAP, config unacceptable", "the peer asks for EAP; certificates are configured here"),
    (
        r"IDr '(?P<found>.*)' not acceptable|deny.*identity '(?P<other>.*)'",
        "the peer has another identity than the one configured",
    ),
)

_CHILD = _all(
    PLAIN,
    (
        r"received NO_PROPOSAL_CHOSEN notify, no CHILD_SA built",
        "the peer accepts none of the ESP proposals, or its kernel takes no SA of them (NO_PROPOSAL_CHOSEN)",
    ),
    (
        r"received TS_UNACCEPTABLE notify",
        "the peer expects other addresses, or its kernel takes no policies (TS_UNACCEPTABLE)",
    ),
    (
        r"received TEMPORARY_FAILURE notify",
        "the peer is busy with this connection (TEMPORARY_FAILURE); charon tries again",
    ),
    (
        r"received (?P<what>[A-Z_]*(?:INVALID|FAILURE|FAILED|UNSUPPORTED)[A-Z_]*) notify"
        r"|received (?P<other>[A-Z][A-Z_]+) notify(?: error|, no CHILD_SA built)",
        "the peer refused ({what}{other})",
    ),
    (
        r"(?P<said>traffic selectors .* unacceptable|no acceptable traffic selectors found)",
        "the peer asks for other addresses than are configured here: {said}",
    ),
    (
        r"(?P<mode>\S+) mode requested by responder is unacceptable",
        "the peer answers with mode {mode}, another one than here (type of the connection)",
    ),
    (r"no acceptable (?:ENCRYPTION|INTEGRITY|PSEUDO|KEY).*found", "no common proposal"),
    (r"no (?:acceptable|matching) proposal found", "this host takes none of the peer's proposals"),
    (
        r"(?P<said>unable to (?:add|update) SAD entry with SPI .*)",
        "the kernel of this host takes no SA: {said}; look at: dmesg, modprobe -a esp4 esp6 xfrm_user, and "
        "whether the kernel has the algorithms of esp",
    ),
    (
        r"(?P<said>unable to (?:add|install|update) policy .*)",
        "the kernel of this host takes no policy: {said}; look at: ip xfrm policy, dmesg",
    ),
    (
        r"unable to allocate SPIs? from kernel|allocating SPI (?:from kernel )?failed|unable to get SPI",
        "the kernel of this host gives no SPI; look at: dmesg, modprobe -a esp4 esp6 xfrm_user",
    ),
    (
        r"not establishing CHILD_SA .* due to existing duplicate",
        "this host has a CHILD SA with the peer already, and takes no second one",
    ),
)

_WAY = _all(
    PLAIN,
    (r"giving up after (?P<tries>\d+) retransmits", f"no answer from the peer ({{tries}} tries): {_SILENT}"),
    (r"unable to resolve|no route to|unable to find.*address", "there is no way to the peer's address"),
)

MEANINGS = (
    *_INIT,
    *_AUTH,
    *_CHILD,
    *_WAY,
    *_all(
        WAITING,
        (
            r"retransmit (?P<tries>\d+) of request",
            f"no answer from the peer yet ({{tries}} tries): {_SILENT}",
        ),
    ),
    *_all(
        FOLLOWS,
        (r"no trusted \S+ public key found for '(?P<who>.*)'", "no trusted certificate here for {who}"),
        (
            r"signature validation failed|(?<!failed, )invalid (?:\S+ )?signature",
            "the peer's signature does not fit its certificate",
        ),
        (
            r"unable to install (?P<what>.*)IPsec (?P<kind>SA|policies) \(S[AP]D\) in kernel",
            "the kernel of this host takes no {what}{kind}; look at: dmesg, ip xfrm state, ip xfrm policy",
        ),
        (
            r"selected peer config '.*' unacceptable: (?P<why>.*)",
            "the peer's authentication does not fit the connection: {why}",
        ),
        (
            r"authentication of '(?P<who>.*)' \(myself\) failed",
            "this host cannot authenticate as {who}; see charon's log",
        ),
        (
            r"\S+ (?:request|response) with message ID \d+ processing failed",
            "what the peer sends cannot be read here: keys or certificates do not fit, or it is damaged on "
            "its way",
        ),
        (
            r"(?P<said>key derivation failed|applying .*public (?:value|key) failed|nonce allocation failed"
            r"|no RNG found.*|peer'?s .* selection invalid)",
            "charon of this host cannot go on: {said}; see its log",
        ),
        (
            r"failed to establish CHILD_SA, keeping IKE_SA|closing IKE_SA due CHILD_SA setup failure",
            "no CHILD SA could be made; see charon's log",
        ),
    ),
)

"""Whether the ends of a pair could authenticate anew: each end alone finds its own files well."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

import authorities
from hostipsec.certificates import source, trust
from hostipsec.fleet import authentication
from hostipsec.fleet.authentication import NO, UNKNOWN, YES
from hostipsec.strongswan import render

NOW = datetime.now(timezone.utc)
OURS = authorities.authority("CN=Puppet CA", NOW)
OTHER = authorities.authority("CN=Puppet CA", NOW)  # of the same name
RENEWED = authorities.authority("CN=Puppet CA", NOW, key=OURS.key)  # with its key
SUB = authorities.authority("CN=Sub CA", NOW, issuer=OURS)
NEW = authorities.authority("CN=New CA", NOW)
CROSS = authorities.authority("CN=New CA", NOW, issuer=OURS, key=NEW.key)  # signed by the old one


def host(ca, *cas, bound=None, **dates):
    """Return what a host with a certificate of a CA tells, which has some CAs and is bound to one or none."""
    own = authorities.host("CN=cp1", NOW, ca, **dates).certificate
    fingerprint = bound.certificate.fingerprint(authorities.hashes.SHA256()).hex()[:16] if bound else ""
    found = trust.told(own, [one.certificate for one in cas], fingerprint, NOW)
    return authentication.read({"authentication": found})


def pair(one, other):
    return authentication.pair("a", "b", {"a": one, "b": other})


WELL = host(OURS, OURS, bound=OURS)


@pytest.mark.parametrize(
    "other",
    [
        WELL,
        host(RENEWED, RENEWED, bound=RENEWED),
        host(SUB, SUB, OURS, bound=OURS),
        host(SUB, OURS, SUB),
        # during a change of CAs: both at one end, which is bound to neither
        host(OURS, OURS, NEW),
        host(OURS, NEW, OURS),
    ],
)
def test_what_fits(other):
    assert pair(WELL, other) == pair(other, WELL) == (YES, ())


def test_a_host_whose_certificate_and_ca_come_from_elsewhere():
    """It passed every check of ours: its SAs went on, and the next authentication failed at each peer."""
    verdict, refusals = pair(WELL, host(OTHER, OTHER, bound=OTHER))
    assert verdict == NO
    assert [(one.host, one.by) for one in refusals] == [("a", "b"), ("b", "a")]
    assert refusals[1].what.startswith(
        "would refuse b at the next authentication: its certificate is of CA 'CN=Puppet CA' (key "
    )
    keys = [one.key[:8] for one in (*host(OTHER, OTHER).chain, *WELL.trusts)]
    assert refusals[1].why.endswith(
        f"{keys[0]}), and those that are taken there are 'CN=Puppet CA' (key {keys[1]})"
    )


def test_one_direction_is_enough():
    """Its certificate is of the new CA alone; or it takes the new CA's alone."""
    assert pair(WELL, host(NEW, NEW, OURS))[1][0][:2] == ("b", "a")
    assert pair(host(OURS, OURS, NEW), host(NEW, NEW, bound=NEW))[1][0][:2] == ("a", "b")


def test_a_change_of_cas_step_by_step():
    both_old, both_new = host(OURS, OURS, NEW), host(NEW, OURS, NEW)
    steps = [WELL, both_old, both_new, host(NEW, NEW, bound=NEW)]
    fits = [[pair(one, other)[0] for other in steps] for one in steps]
    assert fits == [
        [YES, YES, NO, NO],
        [YES, YES, YES, NO],
        [NO, YES, YES, YES],
        [NO, NO, YES, YES],
    ]


def test_bound_to_one_of_several():
    """charon has a CA of somebody else as well, which counts for no peer."""
    assert pair(host(OURS, OURS, NEW, bound=OURS), host(NEW, NEW, OURS))[0] == NO
    assert pair(host(OURS, OURS, NEW), host(NEW, NEW, OURS))[0] == YES


def test_a_cross_signed_ca_is_taken_by_who_has_it():
    new = host(NEW, NEW, OURS, CROSS)
    assert pair(new, host(OURS, OURS, CROSS, bound=OURS))[0] == YES
    assert pair(new, WELL)[0] == NO


def test_an_intermediate_without_its_root_vouches_for_nothing():
    assert pair(WELL, host(OURS, OURS, bound=OURS)._replace(trusts=()))[0] == NO
    alone = trust.told(authorities.host("CN=x", NOW, SUB).certificate, [SUB.certificate], "", NOW)
    assert (alone["chain"], alone["trusts"]) == ([], [])


def test_a_ca_or_certificate_that_is_over():
    days = timedelta(days=-20), timedelta(days=-1)
    past = dict(zip(("since", "until"), days))
    expired = authorities.authority("CN=Puppet CA", NOW, key=OURS.key, **past)
    assert pair(WELL, host(OURS, expired)._replace(chain=WELL.chain))[1][0][:2] == ("a", "b")
    (refusal,) = pair(WELL, host(OURS, OURS, **past))[1]
    assert (refusal.host, refusal.why[:26]) == ("b", "its certificate expired on")


@pytest.mark.parametrize("other", [None, WELL._replace(chain=())])
def test_who_does_not_tell_is_not_known(other):
    told = {"a": WELL, **({"b": other} if other else {})}
    assert authentication.pair("a", "b", told) == (UNKNOWN, ())
    assert authentication.silent([("a", "b")], told) == ["b"]


def test_what_is_wrong_for_sure_is_said_though_the_rest_is_not_known():
    assert pair(WELL, host(OURS, OTHER)._replace(chain=()))[0] == NO


def test_an_alien_is_told_once():
    told = {f"h{n}": WELL for n in range(5)}
    told["h2"] = host(OTHER, OTHER)
    pairs = [(f"h{n}", f"h{m}") for n in range(5) for m in range(n)]
    lines = authentication.lines(authentication.refusals(pairs, told))
    assert [line.partition(": its")[0] for line in lines] == [
        "h2 would be refused at the next authentication by 4 hosts, h0, h1, h3, h4",
        "h2 would refuse 4 hosts, h0, h1, h3, h4 at the next authentication",
    ]


# What a host tells -----------------------------------------------------------------------------


def test_what_is_in_use_is_what_is_planned(here, tmp_path):
    own = authorities.host("CN=cp1", NOW, OURS)
    files = authorities.write(tmp_path / "source", own.pem, own.key_pem(), OURS.pem)
    inspected = source.inspect(files, "CN=cp1", NOW)
    planned = trust.planned(inspected.usable(), NOW)
    assert [one["name"] for one in planned["chain"]] == ["CN=Puppet CA"]
    assert trust.in_use(NOW) is None  # nothing is configured
    for name, pem in (("certs/mine.pem", own.pem), ("cacerts/a.pem", OURS.pem), ("cacerts/b.pem", NEW.pem)):
        (here.ipsec_d / name).parent.mkdir(parents=True, exist_ok=True)
        (here.ipsec_d / name).write_bytes(pem)
    der = OTHER.certificate.public_bytes(authorities.serialization.Encoding.DER)
    (here.ipsec_d / "cacerts/c.der").write_bytes(der)
    (here.ipsec_d / "cacerts/d.pem").write_text("no certificate")
    bound = inspected.usable().binding["rightca2"]
    conf(here, f"    leftcert=mine.pem\n    rightca2={bound}\n")
    assert trust.in_use(NOW) == planned
    conf(here, "    leftcert=mine.pem\n")
    assert len(trust.in_use(NOW)["trusts"]) == 3
    conf(here, "    leftcert=gone.pem\n")
    assert trust.in_use(NOW) is None


def conf(here, options):
    here.conf.write_text(f"{render.HEADER}conn %default\n{options}\nconn a\n    left=10.0.0.1\n")

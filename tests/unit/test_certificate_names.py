"""Distinguished names, read and printed as strongSwan does it."""

from __future__ import annotations

import pytest

from hostipsec.certificates import names


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("CN=a", (("CN", "a"),)),
        ("cn = a ,O=b", (("CN", "a"), ("O", "b"))),
        ("/CN=a/O=b, c", (("CN", "a"), ("O", "b, c"))),
        ("CN=a, emailAddress=r@b", (("CN", "a"), ("E", "r@b"))),
        ("CN=a b ", (("CN", "a b"),)),
        ("CN=a=b", (("CN", "a=b"),)),
    ],
)
def test_names_are_read_as_strongswan_does(text, name):
    assert names.parse(text) == name
    assert names.parse(names.render(name)) == name


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "it is empty"),
        ("cp1.example", "'cp1.example' has no '='"),
        ("CN=a, XX=b", "strongSwan knows no attribute 'XX'"),
    ],
)
def test_what_is_no_name_says_why(text, said):
    with pytest.raises(ValueError, match=said):
        names.parse(text)

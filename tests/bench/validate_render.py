"""A host's configuration from the pillar: everything that is checked and written, by size of the mesh.

The other side is what it would be without any check: a Jinja2 template, compiled before, over the same hosts.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jinja2
from figures import median, rounds, table

import fleets
from hostipsec import paths
from hostipsec.apply import configuration
from hostipsec.pillar import membership
from hostipsec.strongswan.sections import Secret

HUB = "hub.core.example"
ROUNDS = 5
SIZES = (70, 700, 7000)  # connections of one host, two a peer
TEMPLATE = jinja2.Template(
    """\
conn %default
{%- for key, value in options %}
    {{ key }}={{ value }}
{%- endfor %}
{% for name, host in hosts | dictsort if host.site != me.site %}
{%- for family in ('ipv4', 'ipv6') %}
conn {{ name.split('.')[0] }}_v{{ family[-1] }}
    auto=start
    dpdaction=restart
    left={{ me[family] }}
    leftcert=hub.pem
    leftid="CN=hub.core.example"
    right={{ host[family] }}
    rightid="CN={{ name }}"
{% endfor %}
{%- endfor %}
"""
)


def ours(data: dict[str, Any]) -> int:
    """Validate the pillar and render every file of the hub; the number of connections."""
    member = membership.read(data, HUB)
    wanted = configuration.wanted(
        member.connections, member.fleet.settings, "hub.pem", Secret("RSA", "hub.pem")
    )
    return wanted.files[paths.here.conf].count(b"conn edge")


def template(data: dict[str, Any]) -> int:
    """Render ipsec.conf without a check."""
    options = [("type", "transport"), ("keyexchange", "ikev2")]
    text = TEMPLATE.render(hosts=data["hosts"], me=data["hosts"][HUB], options=options)
    return text.count("conn edge")


def main() -> None:
    """Print seconds, time a connection, growth, and the ratio to the template."""
    rows = []
    smallest = 0.0
    for size in SIZES:
        data = fleets.star(size // 2)
        sides = {
            f"{size} connections, ours": partial(ours, data),
            f"{size}, template": partial(template, data),
        }
        for side in sides.values():
            assert side() == size, "not the connections that were asked for"
        own, other = map(median, rounds(sides, ROUNDS).values())
        each = own / size
        smallest = smallest or each
        rows.append(
            [str(size), f"{own:.3f}", f"{each * 1e6:.0f}", f"{each / smallest:.2f}", f"{own / other:.1f}"]
        )
    table(
        f"Validate the pillar and render all files of a host (median of {ROUNDS})",
        ["connections", "s", "us each", "growth", "times a bare template"],
        rows,
    )
    print("growth: time for one connection, against that with 70; 1 is linear")

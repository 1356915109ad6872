"""What the catalog and the checks allow, against the real starter and charon of this release."""

from __future__ import annotations

import contextlib
import gzip
import os
import re
from pathlib import Path

import pytest
from strongswan import STRONGSWAN_CONF, Host, unpacked, wait_for

import mutilated
from hostipsec.charon import statusall
from hostipsec.errors import PillarError
from hostipsec.pillar import pillar, topology
from hostipsec.strongswan import catalog, defaults, options, proposals, ranges, render, sections
from hostipsec.strongswan.sections import Configuration, Secret
from hostipsec.system import processes

CONN = "conn {name}\n    left=10.9.0.1\n    right=10.9.0.{number}\n    {key}={value}\n    auto=add\n"
# values of each option; those that are one of some words are tried with each of these
SAMPLES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(catalog.TEXTS, ("one two", "x")),
    **catalog.ENUMS,
    **dict.fromkeys(catalog.TIMES, ("0", "45", "45s", "13m", "1h", "2d")),
    **dict.fromkeys(catalog.COUNTS, ("0", "128", str(2**32 - 1))),
    **dict.fromkeys(catalog.LONG_COUNTS, ("0", "128", str(2**63 - 1))),
    **dict.fromkeys(catalog.PERCENTS, ("0%", "100%")),
    **dict.fromkeys(catalog.PORTS, ("0", "500", "65535")),
    **dict.fromkeys(
        catalog.PROTOCOL_PORTS, ("tcp", "tcp/", "%any", "%any/%any", "udp/500", "6/80-90", "47/%opaque")
    ),
    **dict.fromkeys(catalog.MARKS, ("7", "0x42", "0x42/0xff", "%unique", "%unique/0xff", "%unique-dir")),
    "esp": (defaults.CONNECTION["esp"],),
    "ike": (defaults.CONNECTION["ike"],),
    "ikedscp": ("000000", "101110"),
    "keyingtries": ("%forever", "0", "3"),
    "tfc": ("%mtu", "0", "1400"),
}
REFUSED = (
    ("keyingretries", "3"),
    ("pfs", "yes"),
    ("leftnexthop", "10.0.0.1"),
    ("uniqueids", "never"),
    ("mobike", "maybe"),
    ("mobike", "Yes"),
    ("type", "transportt"),
    ("closeaction", "trap"),
    ("keyexchange", "ikev3"),
    ("authby", "magic"),
    ("lifetime", "1w"),
    ("lifetime", "1h30m"),
    ("lifetime", "1.5h"),
    ("rekeyfuzz", "100"),
    ("replay_window", "many"),
    ("lifebytes", "10G"),
    ("leftikeport", "http"),
    ("leftprotoport", "tcp 80"),
    ("mark", "blue"),
    ("mark_in", "0x42/low"),
    ("tfc", "full"),
    ("keyingtries", "%never"),
    ("ikedscp", "46"),
    ("sha256_96", "1"),
)


def ran(*argv: str) -> processes.Result:
    root = unpacked()
    settings = f"STRONGSWAN_CONF={root}/etc/strongswan.conf"
    libraries = f"LD_LIBRARY_PATH={root}/usr/lib/ipsec"
    return processes.run(["env", settings, libraries, f"{root}/usr/lib/ipsec/{argv[0]}", *argv[1:]], 60)


@pytest.fixture
def starter(tmp_path):
    """Return what starter says against a text of ipsec.conf, line by line."""

    def conftest(text: str) -> list[str]:
        conf = tmp_path / "ipsec.conf"
        conf.write_text(text)
        said = ran("starter", "--conftest", "--conf", str(conf)).text.splitlines()
        assert said[-1] in ("config OK", "config invalid!")  # OK whatever connection it has dropped
        return said[:-1]

    return conftest


def conns(values: list[tuple[str, str]]) -> str:
    """Return a connection for each option and value."""
    numbered = enumerate(values)
    texts = (
        CONN.format(
            name=f"c{number}", number=number % 250 + 2, key=key, value=f'"{value}"' if " " in value else value
        )
        for number, (key, value) in numbered
    )
    return "".join(texts)


# ipsec.conf ----------------------------------------------------------------------------------------


def test_samples_are_of_all_options():
    assert set(SAMPLES) == set(options.CONNECTION)


def test_starter_takes_what_we_take(starter):
    values = [(key, value) for key, several in sorted(SAMPLES.items()) for value in several]
    for key, value in values:
        assert options.CONNECTION[key].accepts(value)
    assert starter(conns(values)) == []


def test_starter_knows_what_we_compute(starter):
    values = {
        key: "add" if key == "auto" else "clear" for key in catalog.COMPUTED if key not in ("also", "ah")
    }
    assert starter(conns(list(values.items()))) == []


@pytest.mark.parametrize(("key", "value"), REFUSED, ids=[f"{key}={value}" for key, value in REFUSED])
def test_starter_complains_where_we_refuse(starter, key, value):
    assert [problem.path for problem in options.check_connection({key: value}, "p")[1]] == [f"p:{key}"]
    said = starter(conns([(key, value)]))
    assert said, "starter takes it"


def test_starter_refuses_two_that_exclude_each_other(starter):
    said = starter("conn a\n    leftfirewall=yes\n    leftupdown=x\n")
    assert any("cannot have both" in line for line in said)
    assert len(options.check_connection({"leftfirewall": True, "leftupdown": "/x"}, "p")[1]) == 1


def test_starter_takes_ah_beside_esp(starter):
    """Charon then takes 'ah', which encrypts nothing: we refuse it."""
    assert starter("conn a\n    esp=aes128gcm16\n    ah=sha256\n") == []
    assert options.check_connection({"ah": "sha256"}, "p")[1]


def test_starter_takes_the_words_of_config_setup(starter):
    for key, words in catalog.SETUP.items():
        for word in words:
            assert starter(f"config setup\n    {key}={word}\n") == []
            assert options.check_setup({key: word}, "p")[1] == []
    assert starter("config setup\n    strictcrlpolicy=maybe\n")
    assert starter("config setup\n    uniqueid=no\n")


@pytest.mark.parametrize(
    "text", ["a b", "CN=x, O=y", "tcp/80", "a=b", "it's", "ü", "include", "%same", "[a]", "$x", "a;b"]
)
def test_texts_reach_starter_as_they_are(starter, text):
    """What is quoted by us is one value to starter: any other reading is an error or another option."""
    known, problems = options.check_connection({"leftca": f"CN={text}", "rightca": f"CN={text}"}, "p")
    assert problems == []
    value = Configuration(defaults={**defaults.CONNECTION, **known})
    assert starter(render.ipsec_conf(value)) == []


# charon's command line -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", catalog.CHARONDEBUG)
@pytest.mark.parametrize("level", [catalog.CHARONDEBUG_LEVELS[0], catalog.CHARONDEBUG_LEVELS[-1]])
def test_charon_knows_the_types_of_charondebug(kind, level):
    done = ran("charon", f"--debug-{kind}", str(level), "--version")
    assert (done.status, done.stderr) == (0, "")


@pytest.mark.parametrize("kind", ["app", "any", "all", "cf"])
def test_charon_ends_with_its_usage_where_we_refuse(kind):
    """The unit stays active then, and 'ipsec status' prints nothing."""
    done = ran("charon", f"--debug-{kind}", "1", "--version")
    assert "Usage: charon" in done.text or kind == "cf"  # getopt completes what is unique
    assert options.check_charondebug({kind: 1}, "p")[1]


# strongswan.conf -----------------------------------------------------------------------------------

_LINE = re.compile(r"(?:# )?([a-zA-Z0-9_<>.-]+)\s*(=\s*(.*)|\{)")


def documented(file: Path) -> list[tuple[tuple[str, ...], str]]:
    """Return path and default of each setting in one of the files that strongSwan installs."""
    found, stack = [], []
    for line in (raw.strip() for raw in file.read_text().splitlines()):
        match = _LINE.fullmatch(line.removeprefix("# ") if line.endswith(("{", "}")) else line)
        if match and match.group(2) == "{":
            stack.append(match.group(1))
        elif line.removeprefix("# ") == "}":
            stack.pop()
        elif match:
            found.append(((*stack, match.group(1)), (match.group(3) or "").split("#")[0].strip().strip('"')))
    return found


def installed_settings() -> list[tuple[tuple[str, ...], str]]:
    """Return what is documented below charon: in its own files, and in those of its plugins."""
    place = unpacked() / "etc/strongswan.d"
    own = [item for name in ("charon.conf", "charon-logging.conf") for item in documented(place / name)]
    plugins = [item for file in sorted((place / "charon").glob("*.conf")) for item in documented(file)]
    return [
        *((path[1:], default) for path, default in own),
        *((("plugins", *path), default) for path, default in plugins),
    ]


def nested(path: tuple[str, ...], value: str) -> dict:
    """Return ``{"a": {"b": value}}``; a word such as ``<name>`` stands for any."""
    *above, last = (word.replace("<subsystem>", "cfg").strip("<>") for word in path)
    tree: dict = {last: value}
    for word in reversed(above):
        tree = {word: tree}
    return tree


def test_every_setting_that_strongswan_installs_is_known_with_its_default():
    settings = installed_settings()
    assert len(settings) > 250
    problems = []
    for path, default in settings:
        computed = not default or default.startswith(("<", "charon.")) or "${" in default
        found = options.check_charon(nested(path, "1" if computed else default), "p")[1]
        problems += [problem for problem in found if not computed or problem.found.startswith("unknown")]
    assert [str(problem) for problem in problems] == []


LOWEST = """
threads=10 max_packet=3000 fragment_size=512 fragment_size_v4=512 fragment_size_v6=512 block_threshold=2
cookie_threshold=0 cookie_threshold_ip=0 init_limit_half_open=10 init_limit_job_load=10 ikesa_limit=10
half_open_timeout=5 ikesa_table_size=1 ikesa_table_segments=1 replay_window=1 reqid_base=1
retransmit_tries=1 retransmit_base=1 retransmit_timeout=1.5 retransmit_jitter=0 spi_min=0x100 spi_max=0x10100
delete_rekeyed_delay=0 host_resolver.min_threads=0 host_resolver.max_threads=1 ocsp_nonce_len=1
receive_delay=0 send_delay=0 syslog.daemon.map_level=-1 tls.version_min=1 tls.version_max=1
processor.priority_threads.critical=0 processor.priority_threads.high=0 processor.priority_threads.medium=0
processor.priority_threads.low=0 plugins.android_log.loglevel=-1 plugins.sql.loglevel=-1
plugins.openssl.fips_mode=0 plugins.stroke.max_concurrent=1 plugins.stroke.timeout=1000
plugins.kernel-netlink.buflen=4096 plugins.kernel-netlink.receive_buffer_size=4096
plugins.kernel-netlink.mss=536 plugins.kernel-netlink.mtu=1280 plugins.kernel-netlink.retries=0
plugins.kernel-netlink.timeout=0 plugins.kernel-netlink.xfrm_acq_expires=1
plugins.kernel-netlink.spdh_thresh.ipv4.lbits=0 plugins.kernel-netlink.spdh_thresh.ipv4.rbits=0
plugins.kernel-netlink.spdh_thresh.ipv6.lbits=0 plugins.kernel-netlink.spdh_thresh.ipv6.rbits=0
"""
HIGHEST = """
threads=1024 max_packet=65535 fragment_size=65535 fragment_size_v4=65535 fragment_size_v6=65535
block_threshold=2147483647 cookie_threshold=2147483647 cookie_threshold_ip=2147483647
init_limit_half_open=2147483647 init_limit_job_load=2147483647
half_open_timeout=3600 ikesa_table_size=1048576 ikesa_table_segments=4096 replay_window=4096
ikesa_limit=2147483647 retransmit_tries=100 retransmit_base=10 retransmit_timeout=60 retransmit_limit=800
retransmit_jitter=100 spi_min=0xf0000000 spi_max=0xffffffff delete_rekeyed_delay=3600 reqid_base=8192
receive_delay=1000 send_delay=1000 host_resolver.min_threads=64 host_resolver.max_threads=64 ocsp_nonce_len=32
syslog.daemon.map_level=7 tls.version_min=1.3 tls.version_max=1.3
processor.priority_threads.critical=64 processor.priority_threads.high=64
processor.priority_threads.medium=64 processor.priority_threads.low=64
plugins.android_log.loglevel=4 plugins.sql.loglevel=4 plugins.openssl.fips_mode=2
plugins.stroke.max_concurrent=64 plugins.stroke.timeout=2147483647 plugins.kernel-netlink.buflen=1048576
plugins.kernel-netlink.receive_buffer_size=1073741824 plugins.kernel-netlink.mss=65535
plugins.kernel-netlink.mtu=65535 plugins.kernel-netlink.retries=100 plugins.kernel-netlink.timeout=60000
plugins.kernel-netlink.xfrm_acq_expires=3600
plugins.kernel-netlink.spdh_thresh.ipv4.lbits=32 plugins.kernel-netlink.spdh_thresh.ipv4.rbits=32
plugins.kernel-netlink.spdh_thresh.ipv6.lbits=128 plugins.kernel-netlink.spdh_thresh.ipv6.rbits=128
"""
QUICK = "retransmit_tries=100 retransmit_base=1 retransmit_timeout=0.1 retransmit_limit=1"
SLOW = "retransmit_tries=1 retransmit_base=1 retransmit_timeout=60 retransmit_limit=86400"
BESIDE = {"spi_min": "spi_max", "spi_max": "spi_min"}  # 65536 apart: not at one end both
RANGE = re.compile(r"from (-?[0-9.]+) to ([0-9.]+)")


def test_both_ends_of_each_range_are_among_those_that_charon_is_started_with():
    """15 ranges were promised to be survived by charon, and none had ever started with them."""
    started = {tuple(item.split("=")) for item in f"{LOWEST} {HIGHEST} {QUICK} {SLOW}".split()}
    values: dict[str, set[float]] = {}
    for name, value in started:
        number = float(int(value, 16) if value.startswith("0x") else value)
        values.setdefault(name.replace("syslog.daemon.", "syslog.<facility>."), set()).add(number)
    found = {key: RANGE.search(kind.allowed) for key, kind in ranges.KINDS.items()}
    ends = {key: {*map(float, match.groups())} for key, match in found.items() if match}
    assert len(ends) > 45
    missing = {key: wanted - values.get(key, set()) for key, wanted in ends.items()}
    assert {key: left for key, left in missing.items() if len(left) > (key in BESIDE)} == {}


@pytest.mark.parametrize("ends", [LOWEST, HIGHEST, QUICK, SLOW], ids=["lowest", "highest", "quick", "slow"])
def test_charon_serves_at_both_ends_of_each_range(tmp_path, ends):
    if os.getuid() != 0:
        pytest.skip("makes namespaces")
    tree: dict = {}
    for name, _, value in (item.partition("=") for item in ends.split()):
        tree = sections.merged(tree, nested((*name.split("."),), value))
    known, problems = options.check_charon(tree, "p")
    assert problems == [*ranges.contradictions(known, "p")] == []
    host = Host("ranges", tmp_path, over=unpacked())
    try:
        text = render.strongswan_conf(Configuration(strongswan={"charon": known}))
        host.start(conns([("mobike", "no")]), "", STRONGSWAN_CONF + text)
        wait_for(lambda: names(host) == {"c0"}, "the connection")
        with host.vici(10) as session:
            assert session.request("version")
    finally:
        host.stop()


SAMPLE = 300


@pytest.fixture(scope="module")
def sample():
    """Return what a host would run by each of many pillars that are taken."""
    found = []
    for number in range(2 * SAMPLE):
        with contextlib.suppress(PillarError):
            fleet = pillar.read(mutilated.chosen(number))
            member = topology.connections(fleet, fleet.hosts[0].id)
            found.append(sections.configuration(member, fleet.settings, "x.pem", Secret("RSA", "x.pem")))
    assert len(found) > SAMPLE
    return found[:SAMPLE]


def together(sample: list[Configuration]) -> Configuration:
    """Return one configuration with a connection of each, that has the options of all of its own."""
    several = {
        f"c{number}": {
            **one.defaults,
            "left": "10.9.0.1",
            "right": f"10.9.{number // 200 + 1}.{number % 200 + 1}",  # charon joins those of equal addresses
            "auto": "add",
        }
        for number, one in enumerate(sample)
    }
    return Configuration(connections=several)


def test_starter_and_charon_load_what_we_take(tmp_path, starter, sample):
    text = render.ipsec_conf(together(sample))
    assert starter(text) == []
    if os.getuid() != 0:
        pytest.skip("makes namespaces")
    host = Host("sample", tmp_path, over=unpacked())
    try:
        host.start(text, "")
        wait_for(lambda: len(names(host)) == SAMPLE, f"{SAMPLE} connections")
    finally:
        host.stop()


def test_charon_parses_the_settings_that_we_take(tmp_path, sample):
    conf = tmp_path / "strongswan.conf"
    libraries = f"LD_LIBRARY_PATH={unpacked()}/usr/lib/ipsec"
    charon = f"{unpacked()}/usr/lib/ipsec/charon"

    def said(text: str) -> str:
        conf.write_text(text)
        return processes.run(["env", f"STRONGSWAN_CONF={conf}", libraries, charon, "--version"], 30).stderr

    assert said("charon {")  # it complains where it cannot read them
    assert [text for one in sample if said(text := render.strongswan_conf(one))] == []


# charon's proposals --------------------------------------------------------------------------------

TAKEN = {
    "ike": (
        defaults.CONNECTION["ike"],
        "aes128gcm16-sha256-x25519",
        "aes256-sha256-modp2048!",
        "aes128-aes256-sha256-sha384-modp2048-ecp256",
        "aes128gcm16-prfsha256-ecp256, aes128-sha256-ecp256 !",
        "aes192ccm12-prfaesxcbc-curve448",
        "chacha20poly1305-prfsha512-ecp521-none",
    ),
    "esp": (
        defaults.CONNECTION["esp"],
        "aes128gcm16",
        "aes256-sha512-modp4096-esn-noesn",
        "aes128gmac",
        "null-sha256",
        "aes128gcm16-none",
    ),
}
DROPPED = {
    "ike": (
        "aes128gcm17-prfsha384-ecp384bp",
        "AES128GCM16-prfsha384-ecp384bp",
        "aes128gcm16-ecp384bp",
        "aes128gcm16-prfsha384",
        "aes128gcm16-prfsha384-none",
        "aes128-prfsha384-ecp384bp",
        "sha384-ecp384bp",
        "aes128-aes128gcm16-sha256-ecp256",
        "aes256-sha256_96-ecp256",
        "aes128gcm16-prfsha384-ecp384,",
        "!",
    ),
    "esp": (
        "aes128gcm16-ecp385bp",
        "sha256-ecp256",
        "aes128-aes128gcm16-sha256",
        "aes128gcm16,,aes128-sha256",
    ),
}


VALUES = [(key, text) for where in (TAKEN, DROPPED) for key in where for text in where[key]]


@pytest.fixture(scope="module")
def charon(tmp_path_factory):
    """Yield a real charon that was given a connection for each of the proposals above."""
    if os.getuid() != 0:
        pytest.skip("makes namespaces")
    host = Host("proposals", tmp_path_factory.mktemp("proposals"), over=unpacked())
    try:
        host.start(conns([*VALUES, ("mobike", "no")]), "", STRONGSWAN_CONF)
        wait_for(lambda: f"c{len(VALUES)}" in names(host), "the last connection")
        yield host
    finally:
        host.stop()


def names(host: Host) -> set[str]:
    """Return the names of the connections that charon has taken."""
    return {one.name for one in statusall.parse(host.run("ipsec", "statusall")).connections}


@pytest.fixture(scope="module")
def loaded(charon):
    """Return the options whose connections charon has taken."""
    done = names(charon)
    return {value for number, value in enumerate(VALUES) if f"c{number}" in done}


@pytest.mark.parametrize("protocol", ["ike", "esp"])
def test_charon_takes_the_proposals_that_we_take(loaded, protocol):
    for text in TAKEN[protocol]:
        assert proposals.faults(text, protocol) == []
        assert (protocol, text) in loaded


@pytest.mark.parametrize("protocol", ["ike", "esp"])
def test_charon_drops_connections_with_proposals_that_we_refuse(loaded, protocol):
    """Starter takes them all; charon leaves the connection out, and says so in its log only."""
    for text in DROPPED[protocol]:
        assert proposals.faults(text, protocol)
        assert (protocol, text) not in loaded


def test_charon_has_its_algorithms_from_the_plugins_that_we_name(charon):
    listed = dict(re.findall(r"([A-Z0-9_]+)\[([a-z0-9-]+)\]", charon.run("ipsec", "listalgs")))
    known = {
        name: word
        for word, one in proposals.KEYWORDS.items()
        for name in [proposals.shown(one._replace(bits=0))]
    }
    checked = [name for name in listed if name in known]
    assert len(checked) > 40
    for name in checked:
        assert listed[name] in proposals.PROVIDERS[proposals.KEYWORDS[known[name]].name], name


def test_this_charon_has_what_the_defaults_need(charon):
    plugins = statusall.parse(charon.run("ipsec", "statusall")).plugins
    assert proposals.missing_plugins(defaults.CONNECTION["ike"], plugins) == []
    assert proposals.missing_esp_plugins(defaults.CONNECTION["esp"], plugins) == []


def test_defaults_that_we_say_are_strongswans_are_those_of_its_manual():
    """The manual has a default in bold, before or after the other values; of some options it says none."""
    page = gzip.decompress((unpacked() / "usr/share/man/man5/ipsec.conf.5.gz").read_bytes()).decode()
    said = dict(re.findall(r'^\.BR (\w+) " = [^"]*" (\S+)', page, re.MULTILINE))
    both = defaults.STARTER.keys() & said.keys()
    assert len(both) > 15
    assert {key: defaults.STARTER[key] for key in both} == {key: said[key] for key in both}

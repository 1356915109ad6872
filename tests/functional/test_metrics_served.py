"""The program that serves metrics, and what a real Prometheus, node_exporter and carbon have of it."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import jinja2
import pytest
from strongswan import Host, tree, wait_for, without_lib

from hostipsec.health.sample import plain
from hostipsec.model import Metrics
from samples import sample

ROOT = Path(__file__).parents[2]
TWISTED = "attr automat bcrypt cffi-backend constantly hamcrest hyperlink idna incremental openssl pyasn1"
PACKAGES = (
    *("prometheus", "prometheus-node-exporter", "graphite-carbon", "python3-whisper", "python3-twisted"),
    *(f"python3-{name}" for name in TWISTED.split()),
    *("python3-pyasn1-modules", "python3-service-identity", "python3-zope.interface", "python3-cachetools"),
    *("python3-urllib3", "python3-cryptography", "python3-six", "python3-typing-extensions"),
)
DIRECTORY = "/var/lib/prometheus/node-exporter"
ASKED = Metrics(DIRECTORY, "[::]:9815", "127.0.0.1:2003")
PROMETHEUS = """
global: {scrape_interval: 1s}
scrape_configs:
- job_name: http
  static_configs: [{targets: ['127.0.0.1:9815']}]
- job_name: textfile
  static_configs: [{targets: ['127.0.0.1:9100']}]
"""
CARBON = """
[cache]
STORAGE_DIR = /var/lib/graphite/
CONF_DIR = /etc/carbon/
LOG_DIR = /tmp/
PID_DIR = /tmp/
LOCAL_DATA_DIR = /var/lib/graphite/whisper/
MAX_CREATES_PER_MINUTE = inf
LINE_RECEIVER_INTERFACE = 127.0.0.1
ENABLE_LOGROTATION = False
"""
ASK = """
import json, sys, urllib.parse, urllib.request
query = urllib.parse.urlencode({"query": sys.argv[1]})
found = json.load(urllib.request.urlopen("http://127.0.0.1:9090/api/v1/query?" + query, timeout=60))
print(json.dumps([[one["metric"], float(one["value"][1])] for one in found["data"]["result"]]))
"""
WHISPER = "/var/lib/graphite/whisper"
UP = "ipsec_connection_up"

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="makes namespaces")


class Watched:
    """A host with all three, and the program as its unit starts it."""

    def __init__(self, place: Path) -> None:
        self.host = Host("watched", place)  # which sees the machine's files, and so the packages
        self.packages = packages()
        self.root = self.host.root
        lib = self.root / "usr/local/lib/hostipsec/hostipsec"
        shutil.copytree(ROOT / "_utils/hostipsec", lib, ignore=shutil.ignore_patterns("__pycache__"))
        for directory in ("/run/hostipsec", DIRECTORY, "/etc/carbon", WHISPER):
            self.host.run("mkdir", "-p", directory)
        self.put("/tmp/prometheus.yml", PROMETHEUS)
        self.put("/etc/carbon/carbon.conf", CARBON)
        self.put("/etc/carbon/storage-schemas.conf", "[all]\npattern = .*\nretentions = 60s:1h\n")
        self.processes: list[subprocess.Popen[bytes]] = []

    def put(self, path: str, text: str) -> None:
        self.host.write(path, text, 0o644)

    def sample(self, number: int, ago: float = 0.0, **more: object) -> None:
        """Leave a sample as the keeper does."""
        left = json.dumps(plain(sample(number, **more)._replace(time=time.time() - ago)))
        self.put("/run/hostipsec/new", left)
        self.host.run("mv", "/run/hostipsec/new", "/run/hostipsec/state.json")

    def packed(self, name: str, *argv: str) -> list[str]:
        """Return a command of the packages."""
        path = f"PYTHONPATH={self.packages}/usr/lib/python3/dist-packages"
        return ["env", path, f"{self.packages}/usr/bin/{name}", *argv]

    def start(self, name: str, argv: Sequence[str]) -> subprocess.Popen[bytes]:
        """Start a program."""
        with (self.root / f"tmp/{name}.log").open("ab") as log:
            found = subprocess.Popen(self.host.argv(argv), stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        self.processes.append(found)
        return found

    def serve(self) -> subprocess.Popen[bytes]:
        """Start the program with the command line of its unit."""
        asked = {"arguments": ASKED.arguments, "textfile": ASKED.textfile}
        text = (ROOT / "states/ipsec/files/hostipsec-metrics.service").read_text()
        unit = jinja2.Template(text).render(metrics=asked)
        (line,) = [line for line in unit.splitlines() if line.startswith("ExecStart=")]
        return self.start("program", shlex.split(line.partition("=")[2]))

    def asked(self, query: str) -> list[tuple[dict[str, str], float]]:
        """Ask Prometheus."""
        found = self.host.process(["/usr/bin/python3", "-c", ASK, query], 60)
        return [tuple(one) for one in json.loads(found.stdout)] if found.status == 0 else []

    def has(self, query: str, values: Sequence[float]) -> None:
        """Wait until Prometheus has these values."""
        seen: list[object] = []

        def there() -> bool:
            seen[:] = self.asked(query)
            return sorted(value for _, value in seen) == sorted(values)

        try:
            wait_for(there, query, 90)
        except AssertionError as error:
            raise AssertionError(f"{error}: {seen}\n{self.logs()}") from None

    def logs(self) -> str:
        logs = sorted((self.root / "tmp").glob("*.log"))
        return "\n".join(f"{log.name}: {log.read_text(errors='replace')[-1500:]}" for log in logs)

    def carbon(self) -> bool:
        """Whether carbon listens."""
        return f":{2003:04X} 00000000:0000 0A" in Path(f"/proc/{self.host.pid}/net/tcp").read_text()

    def stop(self) -> None:
        self.host.stop()
        for one in self.processes:
            one.kill()
            one.wait()


def packages() -> Path:
    return tree("metrics", PACKAGES, without_lib)


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    made = Watched(tmp_path_factory.mktemp("watched"))
    try:
        made.sample(3)
        carbon = made.packed("carbon-cache", "--config=/etc/carbon/carbon.conf", "--debug", "start")
        made.start("carbon", carbon)
        node = [f"--collector.textfile.directory={DIRECTORY}", "--web.listen-address=127.0.0.1:9100"]
        only = ["--collector.disable-defaults", "--collector.textfile"]
        made.start("node", made.packed("prometheus-node-exporter", *only, *node))
        server = ["--config.file=/tmp/prometheus.yml", "--web.listen-address=127.0.0.1:9090"]
        made.start("prometheus", made.packed("prometheus", *server, "--storage.tsdb.path=/tmp/tsdb"))
        wait_for(made.carbon, "carbon's port")
        yield made
    finally:
        made.stop()


def test_prometheus_node_exporter_and_carbon_have_it(watched):
    """From a sample to what they answer; one that is too old, and a program that is gone, say nothing."""
    program = watched.serve()
    watched.sample(3)
    watched.has(f'{UP}{{job="http"}}', [1, 1, 1])
    watched.has(f'{UP}{{job="textfile"}}', [1, 1, 1])
    labels = {"family": "v4", "pair": "cp1001-cp0002", "peer": "cp0002.codfw.example", "sites": "codfw-eqiad"}
    found = dict(watched.asked(f'{UP}{{job="http",peer="cp0002.codfw.example"}}')[0][0])
    assert labels.items() <= found.items()
    assert watched.asked("node_textfile_scrape_error")[0][1] == 0
    promtool = watched.packed("promtool", "check", "metrics")
    checked = watched.host.process(["sh", "-c", f'"$@" <{DIRECTORY}/hostipsec.prom', "sh", *promtool], 60)
    assert (checked.status, checked.text) == (0, "")

    wsp = f"{WHISPER}/ipsec/cp1001_eqiad_example/connection_bytes_total/cp0001_codfw_example/v4/out.wsp"
    wait_for(lambda: (watched.root / wsp[1:]).exists(), "file of carbon")
    told = json.loads(watched.host.run(*watched.packed("whisper-fetch", "--json", wsp)))
    assert [value for value in told["values"] if value is not None] == [2**40]
    assert sum(1 for _ in (watched.root / WHISPER[1:]).rglob("*.wsp")) > 100

    watched.sample(3, ago=100)
    for job in ("http", "textfile"):
        watched.has(f'{UP}{{job="{job}"}}', [])
        watched.has(f'ipsec_source_up{{job="{job}"}}', [0])
        assert watched.asked(f'time() - ipsec_keeper_look_timestamp_seconds{{job="{job}"}}')[0][1] > 60
    watched.sample(2, states={"established": 1, "down": 1})
    watched.has(f'{UP}{{job="http"}}', [1, 1])

    inner = watched.host.run("pgrep", "-f", "hostipsec.programs.metrics")
    watched.host.run("kill", inner.split()[0])
    assert program.wait(60) == 0
    watched.has('up{job="http"}', [0])
    watched.has('ipsec_info{job="textfile"}', [])
    assert watched.asked('up{job="textfile"}')[0][1] == 1
    late, well = (watched.root / "tmp/program.log").read_text().splitlines()
    assert late.startswith("the keeper's sample: the keeper has not looked since 20")
    assert well == "the keeper's sample: well again"

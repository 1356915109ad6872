"""The archive of a release: the same each time, and a minion without a master serves itself from it."""

from __future__ import annotations

import subprocess

import pytest
import salt.config
import salt.fileserver
import yaml
from conftest import HUB, serve, write_pillar
from test_gitfs import call, repository

import dist


@pytest.fixture(scope="module")
def host(tmp_path_factory, data):
    """Return the configuration directory of a masterless host, over an archive that was unpacked."""
    place = tmp_path_factory.mktemp("dist")
    for part in ("repository", "unpacked"):
        (place / part).mkdir()
    repository(place / "repository")
    name, packed = dist.archive(place / "repository")
    assert dist.archive(place / "repository") == (name, packed)
    subprocess.run(["tar", "-xzC", str(place / "unpacked")], input=packed, check=True)
    write_pillar(place / "pillar", data)
    config = {
        "id": HUB,
        "root_dir": str(place / "root"),
        "file_client": "local",
        "file_roots": {"base": [str(place / "unpacked" / name / "salt")]},
        "pillar_roots": {"base": [str(place / "pillar")]},
        "enable_fqdns_grains": False,
    }
    (place / "minion").write_text(yaml.safe_dump(config))
    return place


def served(config):
    return {*salt.fileserver.Fileserver(config).file_list({"saltenv": "base"})}


def test_it_serves_what_the_directory_of_links_does(host):
    config = salt.config.minion_config(str(host / "minion"))
    serve(host / "srv")
    links = {**config, "file_roots": {"base": [str(host / "srv")]}, "cachedir": str(host / "links")}
    unpacked, linked = served(config), {name for name in served(links) if "__pycache__" not in name}
    assert {"ipsec/init.sls", "_utils/hostipsec/model.py", "_beacons/ipsec.py"} < unpacked
    assert unpacked == linked


def test_a_host_without_a_master_syncs_from_it_and_checks_its_pillar(host):
    brought = call(host, "saltutil.sync_all")
    assert brought["modules"] == ["modules.ipsec", "modules.ipsec_host"]
    found = call(host, "state.apply", "ipsec.check", "test=True")
    assert [one["comment"] for one in found.values() if one["__id__"] == "ipsec-check-input"] == [
        "3 peers, 6 connections"
    ]

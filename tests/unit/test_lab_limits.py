"""What a lab sets for the whole machine."""

import pytest

from fleetlab.limits import NEIGHBOURS, let_know_neighbours


@pytest.mark.parametrize(("was", "then"), [(512, NEIGHBOURS), (1 << 20, dict.fromkeys(NEIGHBOURS, 1 << 20))])
def test_the_table_of_neighbours_is_raised_and_never_lowered(tmp_path, was, then):
    """It is one for all network namespaces: full, it refused what hosts of a lab sent by IPv4 for seconds."""
    folder = tmp_path / "ipv4/neigh/default"
    folder.mkdir(parents=True)
    for name in NEIGHBOURS:
        (folder / name).write_text(f"{was}\n")
    let_know_neighbours(tmp_path)
    assert {name: int((folder / name).read_text()) for name in NEIGHBOURS} == then

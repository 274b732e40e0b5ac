from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monai_iltm.data.contamination import contaminate, sha256
from monai_iltm.data.errors import InputError


@pytest.fixture
def pools(tmp_path):
    """10 anomalous and 20 normal cases with a file each."""
    pools = []
    for name, count in (("bad", 10), ("good", 20)):
        pools.append([{"case": f"{name}{i:02d}", "image": f"{name}{i:02d}.png", "kind": name} for i in range(count)])
        for case in pools[-1]:
            (tmp_path / case["image"]).write_text(case["case"])
    return (*pools, tmp_path)


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0, (0, 20)), (0.5, (10, 10)), (0.8, (10, 3)), (1.0, (10, 0)), (0.1, (2, 20))]
)
def test_largest_without_repeats(pools, share, expected):
    anomalous, normal, folder = pools
    cases, protocol = contaminate(anomalous, normal, share, dataset_dir=folder)
    assert (protocol["anomalous"], protocol["normal"]) == expected
    assert len({case["image"] for case in cases}) == len(cases) == sum(expected)
    assert protocol["reached"] == pytest.approx(share, abs=0.5 / len(cases) + 1e-9)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.8, 1.0])
def test_fixed_size_samples_over_and_under(pools, share):
    anomalous, normal, folder = pools
    cases, protocol = contaminate(anomalous, normal, share, 30, 1, folder)
    assert len(cases) == len({case["case"] for case in cases}) == 30
    assert sum(case["kind"] == "bad" for case in cases) == round(30 * share) == protocol["anomalous"]
    for kind, pool in (("bad", 10), ("good", 20)):
        uses = Counter(case["image"] for case in cases if case["kind"] == kind)
        if uses:  # no image a second time before each was used once
            assert max(uses.values()) - (min(uses.values()) if len(uses) == pool else 0) <= 1


def test_protocol_names_every_file(pools):
    anomalous, normal, folder = pools
    cases, protocol = contaminate(anomalous, normal, 0.8, 25, 3, folder)
    assert [record["case"] for record in protocol["cases"]] == [case["case"] for case in cases]
    assert all(set(case) == {"case", "image", "kind"} for case in cases)
    repeats = [record for record in protocol["cases"] if record["case"] != record["source"]]
    assert len(repeats) == 10
    assert all(record["case"] == record["source"] + "__repeat_2" for record in repeats)
    for case, record in zip(cases, protocol["cases"], strict=True):
        assert record["sha256"] == sha256(folder / case["image"])
        assert record["anomalous"] == (case["kind"] == "bad")


def test_seed_and_order(pools):
    anomalous, normal, folder = pools
    first = contaminate(anomalous, normal, 0.4, 10, 0, folder)
    assert contaminate(anomalous[::-1], normal[::-1], 0.4, 10, 0, folder) == first
    assert contaminate(anomalous, normal, 0.4, 10, 1, folder) != first
    larger = contaminate(anomalous, normal, 0.4, 20, 0, folder)[0]
    assert {case["case"] for case in first[0]} < {case["case"] for case in larger}


@given(share=st.floats(0, 1), anomalous=st.integers(1, 30), normal=st.integers(1, 30))
def test_any_share_is_reached_within_half_a_case(tmp_path_factory, share, anomalous, normal):
    image = tmp_path_factory.getbasetemp() / "one.png"
    image.touch()
    bad, good = ([{"case": f"{i}", "image": str(image)} for i in range(k)] for k in (anomalous, normal))
    cases, protocol = contaminate(bad, good, share)
    assert abs(protocol["anomalous"] - share * len(cases)) <= 0.5 + 1e-9


def test_refuses_the_impossible(pools):
    anomalous, normal, folder = pools
    for share in (-0.1, 1.1, float("nan")):
        with pytest.raises(InputError, match=r"contamination must lie in \[0, 1\]"):
            contaminate(anomalous, normal, share)
    with pytest.raises(InputError, match="5 anomalous cases are needed"):
        contaminate([], normal, 0.5, 10, 0, folder)
    with pytest.raises(InputError, match="the pool has 0 anomalous and 20 normal"):
        contaminate([], normal, 1.0)
    with pytest.raises(InputError, match="size 0"):
        contaminate(anomalous, normal, 0.5, 0)
    with pytest.raises(InputError, match="cannot be read"):
        contaminate(anomalous, normal, 0.5, dataset_dir=folder / "elsewhere")

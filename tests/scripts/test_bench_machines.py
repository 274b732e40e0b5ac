"""The bench of many processes, without any: the prediction by hand, and that one other bit makes it fail."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
import torch

from monai_iltm.data.documents import write_json
from monai_iltm.data.errors import InputError
from monai_iltm.data.images import write_image
from monai_iltm.store import ResultFolder, result_name


@pytest.fixture
def machines(bench) -> ModuleType:
    return bench.sharing


def test_a_round_by_hand(bench, machines, monkeypatch, tmp_path):
    """A step of 2 s and a volume of 100 s on 8 workers: 54 volumes each, 60 epochs, 14/8 of the gradients a step."""
    monkeypatch.setattr(machines, "timed", lambda *_: 2.0)
    record = {"device": "cpu", "threads": torch.get_num_threads(), "small": True, "versions": {}, "cpu_model": "any"}
    write_json(tmp_path / "bodies.json", record | {"rows": [{"step": "whole body, phantom", "ours_s": 100.0}]})
    rows = list(machines.rounds(True, tmp_path))
    sent = 54 * 60 * 14 / 8 * 8 * 1e6 * rows[1]["gradient_mb"] / 10e9
    assert rows[0]["ours_s"] == 425 * (100 + 60 * 2)
    assert rows[1]["ours_s"] == pytest.approx(54 * (100 + 60 * 2) + sent)
    assert rows[1]["speedup"] == pytest.approx(rows[0]["ours_s"] / rows[1]["ours_s"])
    assert machines.seconds_a_volume(False, tmp_path) is None  # measured at tiny sizes
    write_json(tmp_path / "machines.json", record | {"repeats": 1, "rows": rows})
    (tmp_path / "bodies.json").unlink()
    bench.bench("write", out=str(tmp_path), docs=str(tmp_path))
    text = (tmp_path / "performance.md").read_text()
    assert "| sent by each, MB a step |" in text
    assert "| one round, predicted |" in text
    assert "one run." in text


def test_one_other_bit_in_a_map_makes_the_bench_fail(machines, tmp_path):
    surprise = np.ones((4, 4), np.float32)
    for name in ("one", "two"):
        for kind in ("surprise", "healed"):
            write_image(tmp_path / name / result_name("a", kind, "a.png"), surprise)
        write_json(ResultFolder(tmp_path / name).record("a"), {})
    assert machines.same_maps(tmp_path / "one", tmp_path / "two") == "2 maps equal, bit for bit"
    surprise[1, 2] = np.nextafter(surprise[1, 2], np.float32(2))
    write_image(tmp_path / "two" / result_name("a", "surprise", "a.png"), surprise)
    with pytest.raises(InputError, match="case a, surprise: the map of several processes is not that of one"):
        machines.same_maps(tmp_path / "one", tmp_path / "two")
    write_json(ResultFolder(tmp_path / "two").record("b"), {})
    with pytest.raises(InputError, match="1 cases by one process, 2 by several"):
        machines.same_maps(tmp_path / "one", tmp_path / "two")

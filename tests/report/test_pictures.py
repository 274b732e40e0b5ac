"""The cases of a round as picture files."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from monai_iltm.report.pictures import write_pictures
from monai_iltm.store import RunFolder


@pytest.mark.parametrize("shape", [(24, 32), (20, 24, 16)])
def test_a_round_is_shown_by_the_panels_of_six_cases(make_run, tmp_path, shape):
    run = make_run(shape=shape, testing=8)
    written = write_pictures(run, RunFolder(run).round(1), tmp_path)
    assert [path.name for path in written] == [f"{n}_testing_00{case}.png" for n, case in enumerate((0, 1, 3, 4, 6, 7))]
    with Image.open(written[0]) as picture:
        assert picture.width == 5 * 220 + 4 * 4
        panels = np.split(np.asarray(picture)[:, : 5 * 224 - 4], [224, 448, 672, 896], axis=1)
    assert all(panel.std() > 1 for panel in panels)


def test_what_is_not_known_stays_white_and_an_odd_case_gets_a_plain_name(make_run, tmp_path):
    run = RunFolder(make_run(testing=1))
    run.datalist.write_text(run.datalist.read_text().replace('"testing_000"', '"it\'s (1)"'))
    for path in list(run.round(0).test.glob("testing_000_*")):
        path.rename(path.with_name(path.name.replace("testing_000", "it's (1)")))
    (run.round(0).test / "it's (1)_healed.tif").unlink()
    (written,) = write_pictures(run.path, run.round(0), tmp_path)
    assert written.name == "0_it_s__1_.png"
    with Image.open(written) as picture:
        assert (np.asarray(picture)[:, 224:444] == 255).all()


def test_without_scored_test_cases_there_is_none(make_run, tmp_path):
    run = RunFolder(make_run(testing=0))
    assert write_pictures(run.path, run.round(0), tmp_path) == []

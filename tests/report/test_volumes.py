"""Planes and units: what stands where in the pictures."""

from __future__ import annotations

import numpy as np
import pytest

from monai_iltm.report.volumes import CaseArrays, match_units, views


@pytest.mark.parametrize(("slope", "offset"), [(12.0, 0.0), (255.0, 0.0), (8.0, 1.5)])
def test_match_units_finds_the_scaling_despite_an_anomaly(slope, offset):
    healed = np.random.default_rng(0).random((20, 20)).astype(np.float32)
    image = slope * healed + offset
    image[:4, :4] += 3 * slope
    np.testing.assert_allclose(match_units(image, healed), slope * healed + offset, rtol=1e-3)


def test_match_units_of_a_constant_reconstruction_stays_finite():
    assert np.isfinite(match_units(np.ones((4, 4)), np.zeros((4, 4)))).all()


def test_planes_pass_through_the_maximum_and_the_marks_point_at_it():
    surprise = np.zeros((6, 8, 10))
    surprise[1, 5, 7] = 9.0
    arrays = CaseArrays("a", surprise, None, surprise, None, None, (2.0, 3.0, 4.0), True)
    shown = views(arrays)
    assert [view.name for view in shown] == ["Axial", "Coronal", "Sagittal", "Maximum projection"]
    assert [round(view.aspect, 3) for view in shown] == [2.0, 3.333, 1.667, 3.333]
    for view in shown:
        plane = view.take(surprise)
        row, column = np.unravel_index(plane.argmax(), plane.shape)
        assert plane[row, column] == 9.0
        if view.cross:
            assert view.cross == pytest.approx(((column + 0.5) / plane.shape[1], (row + 0.5) / plane.shape[0]))

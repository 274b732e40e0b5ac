from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pyaupro import PerRegionOverlap
from scipy import ndimage

from monai_iltm.metrics import MetricError, aupro, pixel_figures, pro_curve
from monai_iltm.metrics.overlap import area_up_to


def random_cases(seed: int, shape: tuple[int, ...], cases: int = 3, levels: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Maps f32 [cases, 1, *shape] (`levels` distinct values where given, so that many tie) and blob masks."""
    rng = np.random.default_rng(seed)
    masks = np.stack([ndimage.gaussian_filter(rng.normal(size=shape), 1) > 0.25 for _ in range(cases)])[:, None]
    maps = rng.normal(size=masks.shape) + masks
    return (np.floor(maps * levels) if levels else maps).astype(np.float32), masks


def by_every_threshold(maps: np.ndarray, masks: np.ndarray, limit: float) -> float:
    """Overlap and false positives counted anew at each threshold, region by region, with np.interp at the limit."""
    regions = []
    for case, mask in enumerate(masks[:, 0]):
        labelled, count = ndimage.label(mask, ndimage.generate_binary_structure(mask.ndim, mask.ndim))
        regions += [(case, labelled == number) for number in range(1, count + 1)]
    fpr, overlap = [0.0], [0.0]
    for threshold in sorted(set(maps.ravel().tolist()), reverse=True):
        flagged = maps >= threshold
        fpr.append(float(flagged[~masks].mean()))
        overlap.append(float(np.mean([flagged[case, 0][region].mean() for case, region in regions])))
    below = int(np.sum(np.array(fpr) < limit))  # from there on one straight piece reaches the limit
    at_limit = float(np.interp(limit, fpr[below - 1 :], overlap[below - 1 :]))
    return float(np.trapezoid([*overlap[:below], at_limit], [*fpr[:below], limit])) / limit


@pytest.mark.parametrize("shape", [(9, 11), (6, 7, 5)])
@pytest.mark.parametrize("levels", [0, 2])
@pytest.mark.parametrize("limit", [0.05, 0.3, 1.0])
def test_equals_a_loop_over_every_threshold(shape, levels, limit):
    maps, masks = random_cases(len(shape) + levels, shape, levels=levels)
    assert aupro(maps, masks, limit) == pytest.approx(by_every_threshold(maps, masks, limit), abs=1e-9)


@pytest.mark.parametrize("levels", [0, 3])
def test_curve_equals_an_independent_package(levels):
    maps, masks = random_cases(7, (32, 40), cases=5, levels=levels)
    reference = PerRegionOverlap(thresholds=None, reference_implementation=True)
    reference.update(torch.from_numpy(maps[:, 0]), torch.from_numpy(masks[:, 0]).int())
    fpr, overlap = (curve.numpy() for curve in reference.compute())
    ours = pro_curve(maps, masks)
    np.testing.assert_allclose(ours[0], fpr[:-1], atol=1e-6)  # the package appends (1, 1) once more, in float32
    np.testing.assert_allclose(ours[1], overlap[:-1], atol=1e-6)
    assert aupro(maps, masks, 0.3) == pytest.approx(area_up_to(fpr[:-1], overlap[:-1], 0.3), abs=1e-5)


def test_by_hand():
    # two regions, of 1 and 2 pixels; 4 normal pixels with scores 4, 3, 2, 1
    masks = np.array([True, False, True, True, False, False, False]).reshape(1, 1, 1, 7)
    maps = np.array([5.0, 4.0, 3.5, 0.0, 3.0, 2.0, 1.0]).reshape(1, 1, 1, 7)
    # overlap .5 after the first region, .75 once half of the second is in, at fpr .25; 1 only at fpr 1
    assert aupro(maps, masks, 0.25) == pytest.approx(0.5)
    assert aupro(maps, masks, 0.5) == pytest.approx((0.25 * 0.5 + 0.25 * 0.75) / 0.5)
    assert aupro(maps, masks, 0.375) == pytest.approx((0.25 * 0.5 + 0.125 * 0.75) / 0.375)


def test_all_tied_is_the_diagonal():
    masks = random_cases(0, (8, 8))[1]
    assert aupro(np.zeros(masks.shape), masks, 0.3) == pytest.approx(0.15)
    assert aupro(np.zeros(masks.shape), masks, 1.0) == pytest.approx(0.5)


@pytest.mark.parametrize("limit", [1e-6, 0.3, 1.0])
def test_perfect_is_one_and_never_more(limit):
    masks = random_cases(1, (40, 40), cases=6)[1]
    assert aupro(masks.astype(np.float32), masks, limit) == 1.0


@pytest.mark.parametrize("shape", [(2, 2), (2, 2, 2)])
def test_diagonal_neighbours_are_one_region(shape):
    masks = np.zeros((1, 1, *[s + 4 for s in shape]), bool)
    masks[(0, 0, *[1] * len(shape))] = masks[(0, 0, *[2] * len(shape))] = True  # touch at one corner
    masks[(0, 0, *[5] * len(shape))] = True
    maps = np.zeros(masks.shape)
    maps[(0, 0, *[1] * len(shape))] = 1  # half of the first region, nothing of the second
    assert pro_curve(maps, masks)[1][1] == pytest.approx(0.25)


def test_regions_do_not_cross_cases():
    masks = np.zeros((2, 1, 3, 3), bool)
    masks[:, 0, 0, 0] = masks[1, 0, 0, 1] = True
    maps = np.zeros(masks.shape)
    maps[0, 0, 0, 0] = 1
    assert pro_curve(maps, masks)[1][1] == pytest.approx(1 / 2)  # as one region it would be 1 / 3


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10_000), levels=st.sampled_from([0, 1, 3]), limit=st.floats(0.01, 1.0))
def test_monotone_transform_changes_nothing(seed, levels, limit):
    maps, masks = random_cases(seed, (7, 8), levels=levels)
    one, other = aupro(maps, masks, limit), aupro(3 * np.arctan(maps.astype(np.float64)) - 7, masks, limit)
    assert 0 <= one <= 1
    assert one == pytest.approx(other, abs=1e-12)


@pytest.mark.parametrize("limit", [0.0, -0.1, 1.1])
def test_refuses_a_limit_outside(limit):
    with pytest.raises(MetricError, match="fpr_limit"):
        aupro(*random_cases(0, (5, 5)), limit)


def test_what_is_masked_in_the_truth_counts_in_no_figure():
    """As if those pixels were not there: other scores under them change nothing, and neither does their truth."""
    maps, masks = random_cases(3, (12, 14))
    ignored = np.zeros_like(masks)
    ignored[:, :, :4] = True
    told = np.ma.array(masks, mask=ignored)
    inside = {name: value for name, value in pixel_figures(list(maps), list(told)).items()}
    scrambled, turned = maps.copy(), masks.copy()
    scrambled[ignored] = np.random.default_rng(0).normal(size=ignored.sum()) * 9
    turned[ignored] = False
    assert pixel_figures(list(scrambled), list(np.ma.array(turned, mask=ignored))) == inside
    cut = pixel_figures(list(maps[:, :, 4:]), list(masks[:, :, 4:]))  # regions that the cut parts are parts of one
    assert inside["auroc"] == pytest.approx(cut["auroc"])
    assert inside["best_dice_per_case"] == pytest.approx(cut["best_dice_per_case"])
    assert inside["aupro"] == pytest.approx(cut["aupro"])

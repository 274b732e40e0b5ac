from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from monai_iltm.metrics import (
    MetricError,
    aupro,
    auroc,
    average_precision,
    best_dice,
    best_dice_per_case,
    image_auroc,
    pixel_figures,
)

FIGURES = (auroc, average_precision, aupro, best_dice, best_dice_per_case)


def random_cases(seed: int, shape: tuple[int, ...] = (6, 7), cases: int = 4, levels: int = 0):
    """Maps f32 and masks [cases, 1, *shape]; the last case is normal throughout."""
    rng = np.random.default_rng(seed)
    masks = rng.random((cases, 1, *shape)) < 0.2
    masks[:, :, :2, :2] = True
    masks[-1] = False
    maps = rng.normal(size=masks.shape) + 0.7 * masks
    return (np.floor(maps * levels) if levels else maps).astype(np.float32), masks


def dice_by_every_threshold(maps: np.ndarray, masks: np.ndarray) -> float:
    return max(
        2 * np.sum((maps >= t) & masks) / (np.sum(maps >= t) + np.sum(masks)) for t in set(maps.ravel().tolist())
    )


@pytest.mark.parametrize("shape", [(6, 7), (4, 5, 3)])
@pytest.mark.parametrize("levels", [0, 2])
def test_equal_their_references(shape, levels):
    maps, masks = random_cases(1, shape, levels=levels)
    assert auroc(maps, masks) == pytest.approx(roc_auc_score(masks.ravel(), maps.ravel()))
    assert average_precision(maps, masks) == pytest.approx(average_precision_score(masks.ravel(), maps.ravel()))
    assert best_dice(maps, masks) == pytest.approx(dice_by_every_threshold(maps, masks))
    alone = [dice_by_every_threshold(m, k) for m, k in zip(maps, masks, strict=True) if k.any()]
    assert len(alone) == 3
    assert best_dice_per_case(maps, masks) == pytest.approx(np.mean(alone))


def test_by_hand():
    maps = np.array([4.0, 3.0, 2.0, 1.0]).reshape(1, 1, 2, 2)
    masks = np.array([True, False, True, False]).reshape(1, 1, 2, 2)
    assert auroc(maps, masks) == pytest.approx(0.75)
    assert average_precision(maps, masks) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert best_dice(maps, masks) == pytest.approx(0.8)


@pytest.mark.parametrize("figure", FIGURES)
def test_torch_numpy_and_lists_agree(figure):
    maps, masks = random_cases(2)
    expected = figure(maps, masks)
    assert isinstance(expected, float)
    assert figure(torch.from_numpy(maps), torch.from_numpy(masks)) == expected
    assert figure(list(torch.from_numpy(maps)), list(masks)) == expected


@pytest.mark.parametrize("figure", [figure for figure in FIGURES if figure is not best_dice_per_case])
def test_cases_of_differing_sizes(figure):
    """A case cut in two where no region lies across: the same pixels and the same regions."""
    maps, masks = random_cases(3)
    masks[0, 0, 3:5] = False
    cut = [[*whole[1:], whole[0][:, :4], whole[0][:, 4:]] for whole in (maps, masks)]
    assert figure(*cut) == pytest.approx(figure(maps, masks))


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10_000), levels=st.sampled_from([0, 1, 3]), order=st.permutations(range(4)))
def test_monotone_transforms_and_order_of_cases_change_nothing(seed, levels, order):
    maps, masks = random_cases(seed, levels=levels)
    before = pixel_figures(maps, masks)
    transformed = pixel_figures(np.exp(maps.astype(np.float64) / 4) - 3, masks)
    permuted = pixel_figures(maps[order], masks[order])
    assert before == pytest.approx(transformed, abs=1e-12)
    assert before == pytest.approx(permuted, abs=1e-12)


def test_perfect_maps_reach_one():
    masks = random_cases(4)[1]
    assert pixel_figures(masks.astype(np.float32), masks, prefix="residual_") == {
        f"residual_{figure.__name__}": 1.0 for figure in FIGURES
    }


@pytest.mark.parametrize("figure", FIGURES)
def test_refuse_what_they_cannot_measure(figure):
    maps, masks = random_cases(5)
    with pytest.raises(MetricError, match="no anomalous pixel"):
        figure(maps, np.zeros_like(masks))
    with pytest.raises(MetricError, match=r"map 0 has shape \(1, 5, 7\), its mask \(1, 6, 7\)"):
        figure(maps[:, :, :5], masks)
    with pytest.raises(MetricError, match="4 maps but 3 masks"):
        figure(maps, masks[:3])
    with pytest.raises(MetricError, match="mask 0 must be bool"):
        figure(maps, masks.astype(np.uint8))
    with pytest.raises(MetricError, match="no case"):
        figure([], [])
    with pytest.raises(MetricError, match="one channel first"):
        figure(maps[:, 0], masks[:, 0])
    for bad in (np.nan, np.inf):
        broken = maps.copy()
        broken[2, 0, 0, 0] = bad
        with pytest.raises(MetricError, match="map 2 holds 1 values"):
            figure(broken, masks)


@pytest.mark.parametrize("figure", [auroc, average_precision, aupro, best_dice])
def test_refuse_pools_without_a_normal_pixel(figure):
    maps, masks = random_cases(5)
    with pytest.raises(MetricError, match="no normal pixel"):
        figure(maps, np.ones_like(masks))


def test_image_auroc():
    labels = np.array([True, False, True, False])
    assert image_auroc(np.array([4.0, 3.0, 2.0, 1.0]), labels) == pytest.approx(0.75)
    assert image_auroc(torch.tensor([4, 3, 2, 1]), torch.from_numpy(labels)) == pytest.approx(0.75)
    with pytest.raises(MetricError, match="no normal image"):
        image_auroc(np.arange(4.0), np.ones(4, bool))
    with pytest.raises(MetricError, match="no anomalous image"):
        image_auroc(np.arange(4.0), np.zeros(4, bool))
    with pytest.raises(MetricError, match="must be bool"):
        image_auroc(np.arange(4.0), np.arange(4))
    with pytest.raises(MetricError, match="shape"):
        image_auroc(np.arange(3.0), labels)
    with pytest.raises(MetricError, match="NaN"):
        image_auroc(np.array([1.0, np.nan, 0, 2]), labels)

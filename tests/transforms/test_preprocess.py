from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from monai.utils import convert_to_tensor

from monai_iltm.data.checks import check_cases
from monai_iltm.data.errors import InputError
from monai_iltm.data.images import read_image, write_image
from monai_iltm.transforms import ToImageGridd, preprocessing, scale_intensity

RANGE = (0, 255)
KINDS = [("picture", (13, 18), 1), ("colour", (18, 13), 3), ("flat", (13, 18), 1), ("volume", (9, 12, 7), 1)]
GRIDS = {2: (24, 20), 3: (16, 16, 8)}
SPACINGS = {2: (3.0, 2.5), 3: (2.5, 3.0, 5.0)}


def plain(image: torch.Tensor) -> torch.Tensor:
    return convert_to_tensor(image, track_meta=False)


def channel_first(path: str, channels: int) -> torch.Tensor:
    array = scale_intensity(read_image(path).array, RANGE)
    return torch.from_numpy(np.moveaxis(array, -1, 0) if channels == 3 else array[None])


def there(case: dict, channels: int, **options) -> tuple[MetaTensor, object]:
    dims = 3 if "volume" in options.pop("kind") else 2
    transform = preprocessing(GRIDS[dims], channels, RANGE, mask_keys=["mask"], **options)
    return transform(case), transform


@pytest.mark.parametrize(("kind", "size", "channels"), KINDS)
def test_padded_and_back_is_the_image(case_on_disk, kind, size, channels):
    case = case_on_disk(kind, size)
    item, transform = there(case, channels, kind=kind)
    grid = GRIDS[len(size)]
    assert item["image"].shape == (channels, *grid)
    assert item["mask"].shape == (1, *grid)
    assert item["image"].dtype == item["mask"].dtype == torch.float32
    item["pred"] = plain(item["image"])
    back = ToImageGridd(["pred"], transform)(item)["pred"]
    assert torch.equal(plain(back), channel_first(case["image"], channels))


@pytest.mark.parametrize(("kind", "size", "channels"), KINDS)
@pytest.mark.parametrize("way", ["pad", "resize", "spacing", "both"])
def test_a_result_comes_back_on_the_grid_of_its_file(case_on_disk, kind, size, channels, way):
    """A constant map stays constant to the edges, and shape and affine are the file's, to the last bit."""
    case = case_on_disk(kind, size)
    options = {"resize": way in ("resize", "both")}
    if way in ("spacing", "both"):
        options["spacing"] = SPACINGS[len(size)]
    item, transform = there(case, channels, kind=kind, **options)
    item["pred"] = torch.full((1, *GRIDS[len(size)]), 3.7)
    back = ToImageGridd(["pred"], transform)(item)["pred"]
    assert back.shape == (1, *size)
    torch.testing.assert_close(plain(back), torch.full((1, *size), 3.7))
    affine = read_image(case["image"]).affine
    if affine is not None:
        np.testing.assert_allclose(back.affine.numpy(), affine, atol=1e-5)


@pytest.mark.parametrize(("kind", "size", "channels"), KINDS)
@pytest.mark.parametrize("way", ["resize", "spacing", "both"])
def test_a_resampled_image_comes_back_nearly_the_same(case_on_disk, kind, size, channels, way):
    case = case_on_disk(kind, size)
    options = {"resize": way in ("resize", "both")}
    if way in ("spacing", "both") and kind in ("volume", "flat"):
        options["spacing"] = SPACINGS[len(size)]
    item, transform = there(case, channels, kind=kind, **options)
    item["pred"] = plain(item["image"])
    back = plain(ToImageGridd(["pred"], transform)(item)["pred"])
    error = (back - channel_first(case["image"], channels)).abs()
    assert error.mean() < 0.03
    assert error.max() < 0.3


@pytest.mark.parametrize(("kind", "size", "channels"), KINDS)
@pytest.mark.parametrize("way", ["pad", "resize", "spacing"])
def test_a_mask_goes_where_its_image_goes(case_on_disk, kind, size, channels, way):
    """The middle of the mask stays the middle of the blob, to less than half a voxel."""
    case = case_on_disk(kind, [4 * n for n in size], **({"affine": np.diag([2.0, 3, 4, 1])} if kind == "flat" else {}))
    options = {"resize": way == "resize", "spacing": (1.9, 2.7, 3.5)[: len(size)] if way == "spacing" else None}
    grid = [4 * n + 11 for n in size] if way != "spacing" else [5 * n for n in size]
    item = preprocessing(grid, channels, RANGE, mask_keys=["mask"], **options)(case)
    bright, mask = plain(item["image"])[0] > 125.5 / 255, plain(item["mask"])[0]
    assert set(mask.unique().tolist()) == {0.0, 1.0}
    assert 2 * (bright * mask).sum() / (bright.sum() + mask.sum()) > 0.9
    for middle, expected in zip(mask.nonzero().float().mean(0), bright.nonzero().float().mean(0), strict=True):
        assert middle.item() == pytest.approx(expected.item(), abs=0.3)


def test_a_volume_is_resampled_to_the_spacing_asked_for(case_on_disk):
    item, _ = there(case_on_disk("volume", (9, 12, 7)), 1, kind="volume", spacing=(2.5, 3.0, 5.0))
    spacing = np.linalg.norm(item["image"].affine.numpy()[:3, :3], axis=0)
    np.testing.assert_allclose(spacing, (2.5, 3.0, 5.0), rtol=1e-5)


@settings(max_examples=25)
@given(st.tuples(*[st.integers(3, 12)] * 3), st.tuples(*[st.sampled_from([0.5, 0.9, 1.5, 2.0, 3.3])] * 3))
def test_the_door_knows_what_size_a_resampled_volume_will_have(tmp_path_factory, oblique, size, spacing):
    """What the check of the data lets through fits, and what fits is let through."""
    folder = tmp_path_factory.mktemp("volume")
    write_image(folder / "a.nii.gz", np.linspace(0, 2000, np.prod(size), dtype=np.float32).reshape(size), oblique)
    case = {"case": "a", "image": "a.nii.gz"}
    item = preprocessing((64, 64, 64), 1, (0, 2000), spacing, resize=True)({"image": str(folder / "a.nii.gz")})
    (resampled,) = (step for step in item["image"].applied_operations if step["class"] == "Resize")
    room = tuple(int(n) for n in resampled["orig_size"])
    for less, problems in ((0, []), (1, ["image too large"])):
        limits = {"max_size": (room[0] - less, *room[1:]), "spacing": spacing, "fewest": 1}
        assert [problem.what for problem in check_cases({"training": [case]}, folder, **limits)] == problems


def test_padding_goes_around_and_is_dark(case_on_disk):
    item, _ = there(case_on_disk("picture", (13, 18)), 1, kind="picture")
    outside = torch.ones(24, 20, dtype=torch.bool)
    outside[5:18, 1:19] = False
    assert not plain(item["image"])[0, outside].any()
    assert not plain(item["mask"])[0, outside].any()


def test_without_a_mask_only_the_image_is_there(case_on_disk):
    case = case_on_disk("picture", (13, 18))
    item = preprocessing((24, 20), 1, RANGE, mask_keys=["mask"])({"case": "a", "image": case["image"]})
    assert "mask" not in item
    assert item["case"] == "a"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"image_size": (12, 24)}, r"case_7: size \(13, 18\) is larger than image_size \(12, 24\)"),
        ({"image_size": (24, 24), "channels": 3}, "case_7: 2D with 1 channels, the model takes 2D with 3"),
        ({"image_size": (24, 24, 24)}, "case_7: 2D with 1 channels, the model takes 3D with 1"),
        (
            {"image_size": (24, 24), "expected_range": (0, 100)},
            r"case_7: intensities out of range, 0 to 2\d\d, expected 0 to 100 \(setting expected_range",
        ),
    ],
)
def test_what_does_not_fit_is_refused_by_case(case_on_disk, options, words):
    case = case_on_disk("picture", (13, 18))
    with pytest.raises(Exception, match="applying transform") as caught:
        preprocessing(**options, intensity_range=RANGE)(case)
    told = caught.value.__cause__
    assert isinstance(told, InputError)
    with pytest.raises(InputError, match=words):
        raise told


def test_without_a_case_id_the_file_is_named(case_on_disk):
    case = case_on_disk("picture", (13, 18))
    with pytest.raises(RuntimeError) as caught:
        preprocessing((8, 8), 1, RANGE)({"image": case["image"]})
    assert "image.png" in str(caught.value.__cause__)


# ---- intensities ----


@pytest.mark.parametrize("intensity_range", [(0, 255), (50, 100), "median", None])
@pytest.mark.parametrize(("kind", "size", "channels"), KINDS)
def test_scale_intensity_is_what_preprocessing_does(case_on_disk, kind, size, channels, intensity_range):
    case = case_on_disk(kind, size)
    item = preprocessing(size, channels, intensity_range)(case)
    scaled = scale_intensity(read_image(case["image"]).array, intensity_range)
    expected = np.moveaxis(scaled, -1, 0) if channels == 3 else scaled[None]
    np.testing.assert_array_equal(plain(item["image"]).numpy(), expected)
    assert expected.dtype == np.float32
    assert expected.min() >= 0
    assert expected.max() <= 1


def test_a_range_becomes_zero_to_one_and_the_rest_is_clipped():
    scaled = scale_intensity(np.array([[0, 50, 75, 100, 255]], np.uint8), (50, 100))
    assert scaled.tolist() == [[0, 0, 0.5, 1, 1]]


def test_without_a_range_an_images_own_percentiles_are_taken():
    """0..200 in steps of one: 0.5 % lies at 1, 99.5 % at 199."""
    scaled = scale_intensity(np.arange(201, dtype=np.float64).reshape(3, 67), None).ravel()
    assert scaled[0] == scaled[1] == 0
    assert scaled[199] == scaled[200] == 1
    assert scaled[100] == pytest.approx(0.5)


def test_by_the_median_another_exposure_is_the_same_image():
    image = np.array([[10, 20, 30, 40, 90]], np.float32)
    scaled = scale_intensity(image, "median")
    np.testing.assert_allclose(scaled, [[1 / 6, 1 / 3, 1 / 2, 2 / 3, 1]], rtol=1e-6)
    np.testing.assert_allclose(scale_intensity(2.5 * image, "median"), scaled, rtol=1e-6)
    with pytest.raises(InputError, match=r"image: nearly all .* are 0, so that its own median cannot"):
        scale_intensity(np.array([[0, 0, 0, 1]], np.float32), "median")


@pytest.mark.parametrize("intensity_range", ["mean", "ab", [1], [0, 1, 2]])
def test_another_range_is_refused(intensity_range):
    with pytest.raises(InputError, match="'median' or None, found"):
        preprocessing((8, 8), 1, intensity_range)


def test_an_image_of_few_bright_voxels_is_refused_without_a_range(tmp_path):
    """Its percentiles span nothing, and nothing must come out beyond [0, 1]."""
    array = np.zeros((16, 16, 16), np.float32)
    array[8, 8, 8] = 5000.0
    write_image(tmp_path / "dark.nii.gz", array)
    with pytest.raises(RuntimeError) as caught:
        preprocessing((16, 16, 16), 1)({"case": "dark_1", "image": str(tmp_path / "dark.nii.gz")})
    assert str(caught.value.__cause__).startswith("dark_1: nearly all of its intensities are 0")
    with pytest.raises(InputError, match=r"image: nearly all .* state intensity_range"):
        scale_intensity(array, None)


def test_values_stay_in_range_after_resampling(tmp_path):
    """Sharp edges must not ring."""
    edge = np.zeros((16, 16, 16), np.float32)
    edge[8:, :, 4:9] = 1000.0
    write_image(tmp_path / "edge.nii.gz", edge, np.diag([2.0, 2.0, 2.0, 1.0]))
    item = preprocessing((24, 24, 24), 1, (0, 1000), spacing=(1.4, 1.3, 3.1), resize=True)(
        {"case": "edge", "image": str(tmp_path / "edge.nii.gz")}
    )
    assert item["image"].min() >= 0
    assert item["image"].max() <= 1
    assert math.isclose(float(item["image"].max()), 1.0, abs_tol=0.05)

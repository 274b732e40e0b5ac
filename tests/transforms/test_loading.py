"""What stands before the preprocessing may be another loader, or a program: the model sees the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, LoadImaged
from monai.utils import convert_to_tensor

from monai_iltm.data.errors import InputError
from monai_iltm.data.images import read_image, write_image
from monai_iltm.transforms import ToImageGridd, preprocessing
from monai_iltm.transforms.loading import ChannelFirstd

RANGE = (0, 255)
GRIDS = {2: (24, 20), 3: (16, 16, 8)}
KINDS = [("picture", (13, 18), 1), ("colour", (18, 13), 3), ("flat", (13, 18), 1), ("volume", (9, 12, 7), 1)]


def chain(size: tuple[int, ...], channels: int, *loaders: object, **options) -> Compose:
    """The preprocessing with other transforms in the place of its own loader, as MONAI Deploy's operator takes it."""
    whole = preprocessing(GRIDS[len(size)], channels, RANGE, orientation="RAS", **options)
    return Compose([*loaders, *whole.transforms[1:]])


def plain(image: torch.Tensor) -> torch.Tensor:
    return convert_to_tensor(image, track_meta=False)


@pytest.mark.parametrize(("kind", "size", "channels"), KINDS)
@pytest.mark.parametrize("first", [False, True])
def test_monais_own_loader_gives_the_same_image(case_on_disk, kind, size, channels, first):
    case = case_on_disk(kind, size)
    own = preprocessing(GRIDS[len(size)], channels, RANGE, orientation="RAS")(case)["image"]
    loader = LoadImaged(["image"], image_only=True, ensure_channel_first=first)
    other = chain(size, channels, loader)({"image": case["image"]})["image"]
    torch.testing.assert_close(plain(other), plain(own))


@pytest.mark.parametrize(("kind", "size", "channels"), KINDS)
def test_results_come_back_as_the_loader_had_the_image(case_on_disk, kind, size, channels):
    """MONAI's reader of pictures has columns first: its results too."""
    loader = LoadImaged(["image"], image_only=True)
    case = case_on_disk(kind, size)
    loaded = plain(loader({"image": case["image"]})["image"])
    transform = chain(size, channels, loader)
    item = transform({"image": case["image"]})
    item["pred"] = plain(item["image"])
    back = plain(ToImageGridd(["pred"], transform)(item)["pred"])
    expected = loaded.moveaxis(-1, 0) if channels == 3 else loaded[None]
    torch.testing.assert_close(back, expected.float() / 255)


@pytest.mark.parametrize(("kind", "size", "channels"), KINDS)
@pytest.mark.parametrize("form", ["array", "tensor", "meta", "singleton"])
def test_an_image_in_memory_is_taken_as_it_is(case_on_disk, kind, size, channels, form):
    case = case_on_disk(kind, size)
    file = read_image(case["image"])
    affine = torch.eye(4, dtype=torch.float64) if file.affine is None else torch.from_numpy(file.affine)
    forms = {
        "array": file.array,
        "tensor": torch.from_numpy(file.array),
        "meta": MetaTensor(torch.from_numpy(file.array), affine=affine, meta={"original_channel_dim": "no_channel"}),
        "singleton": MetaTensor(
            torch.from_numpy(file.array if channels == 3 else file.array[..., None]), affine=affine
        ),
    }
    whole = preprocessing(GRIDS[len(size)], channels, RANGE)
    own = whole(case)["image"]
    item = Compose(whole.transforms[1:])({"image": forms[form]})
    torch.testing.assert_close(plain(item["image"]), plain(own))


def test_channels_first_and_last_are_told_apart_by_their_number():
    step = ChannelFirstd(["image"], 2, 3)
    last = torch.rand(5, 7, 3)
    assert torch.equal(plain(step({"image": last})["image"]), last.moveaxis(-1, 0))
    assert torch.equal(plain(step({"image": last.moveaxis(-1, 0)})["image"]), last.moveaxis(-1, 0))
    both = torch.rand(3, 7, 3)  # the meta data decide where the shape cannot
    assert torch.equal(plain(step({"image": both})["image"]), both)
    said = MetaTensor(both, meta={"original_channel_dim": -1})
    assert torch.equal(plain(step({"image": said})["image"]), both.moveaxis(-1, 0))


# ---- orientation ----


def turned(path, volume: np.ndarray, codes: str) -> None:
    """Write the same places of a body with the axes in another order and sense."""
    import nibabel as nib

    image = nib.Nifti1Image(volume, np.diag([2.0, 3, 4, 1]))
    wanted = nib.orientations.axcodes2ornt(tuple(codes))
    image = image.as_reoriented(nib.orientations.ornt_transform(nib.io_orientation(image.affine), wanted))
    nib.save(image, path)


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PIR", "SAL"])
@pytest.mark.parametrize("spacing", [None, (3.0, 3.0, 3.0)])
def test_a_volume_is_the_same_to_the_model_however_its_axes_lie(tmp_path, codes, spacing):
    volume = np.random.default_rng(0).uniform(0, 255, (9, 12, 7)).astype(np.float32)
    for name, axes in (("a", "RAS"), ("b", codes)):
        turned(tmp_path / f"{name}.nii.gz", volume, axes)
    transform = preprocessing((16, 16, 16), 1, RANGE, spacing, orientation="RAS")
    one, other = (transform({"image": str(tmp_path / f"{name}.nii.gz")}) for name in "ab")
    torch.testing.assert_close(plain(other["image"]), plain(one["image"]), atol=1e-4, rtol=1e-4)
    other["pred"] = plain(other["image"])
    back = ToImageGridd(["pred"], transform)(other)["pred"]
    assert back.shape[1:] == read_image(tmp_path / "b.nii.gz").array.shape
    if spacing is None:
        stored = read_image(tmp_path / "b.nii.gz").array / 255
        np.testing.assert_allclose(plain(back)[0].numpy(), stored, atol=1e-6)


def test_without_an_orientation_axes_stay(tmp_path):
    turned(tmp_path / "b.nii.gz", np.random.default_rng(0).uniform(0, 255, (9, 12, 7)).astype(np.float32), "LPS")
    item = preprocessing((9, 12, 7), 1, RANGE)({"image": str(tmp_path / "b.nii.gz")})
    np.testing.assert_allclose(plain(item["image"])[0], read_image(tmp_path / "b.nii.gz").array / 255, atol=1e-6)


# ---- what an image alone can tell ----


@pytest.mark.parametrize(
    ("values", "options", "words"),
    [
        ([0.0, np.nan], {}, "NaN or infinite"),
        ([0.0, np.inf], {}, "NaN or infinite"),
        ([0.0, 255_000.0], {"expected_range": (0, 255)}, r"out of range, 0 to 255000.*setting expected_range"),
        ([-90.0, 255.0], {"expected_range": (0, 255)}, r"out of range, -90 to 255"),
        ([0.0, 1.0], {}, r"fill no range, 0 to 1, less than 2% of 0 to 255 \(setting intensity_range\)"),
        ([300.0, 900.0], {}, r"fill no range, 300 to 900"),
    ],
)
def test_an_image_that_cannot_be_judged_is_refused(values, options, words):
    image = np.resize(np.array(values, np.float32), (12, 12))
    transform = Compose(preprocessing((16, 16), 1, RANGE, **options).transforms[1:])
    with pytest.raises(RuntimeError) as caught:
        transform({"image": image, "case": "p7"})
    assert isinstance(caught.value.__cause__, InputError)
    with pytest.raises(InputError, match=f"^p7: .*{words}"):
        raise caught.value.__cause__


def test_an_image_unlike_those_of_the_training_is_marked_and_told(caplog):
    training = {"lowest": [0.0, 3.0], "mean": [90.0, 110.0], "highest": [250.0, 255.0]}
    transform = Compose(preprocessing((16, 16), 1, RANGE, training_intensities=training).transforms[1:])
    usual = transform({"image": np.linspace(0, 200, 144, dtype=np.float32).reshape(12, 12), "case": "a"})
    assert usual["warning"] == ""
    assert (usual["lowest"], usual["mean"], usual["highest"]) == pytest.approx((0, 100, 200))
    assert caplog.messages == []
    dark = np.zeros((12, 12), np.float32)
    dark[0, 0] = 200
    strange = transform({"image": dark, "case": "b"})
    assert strange["warning"] == "mean intensity 1.389, those of the training images lie from 90 to 110"
    assert caplog.messages == [f"b: {strange['warning']}"]


def test_a_mask_is_read_by_its_own_rule(tmp_path):
    write_image(tmp_path / "image.png", np.arange(144, dtype=np.uint8).reshape(12, 12))
    write_image(tmp_path / "label.png", np.arange(144, dtype=np.uint8).reshape(12, 12))
    case = {"case": "a", "image": str(tmp_path / "image.png"), "mask": str(tmp_path / "label.png")}
    transform = preprocessing((12, 12), 1, RANGE, mask_keys=["mask"])
    told = transform({**case, "label_threshold": 100, "label_ignore": 143})
    assert int(told["mask"].sum()) == 42
    with pytest.raises(RuntimeError):
        transform(case)

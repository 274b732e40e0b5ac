from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from monai.transforms import LoadImaged
from PIL import Image

from monai_iltm.data.errors import InputError
from monai_iltm.data.files import grid_difference, inspect_file, inspect_mask
from monai_iltm.data.grids import require_grid
from monai_iltm.data.images import image_grid, write_image
from monai_iltm.data.readers import ImageFileReader

VALUES = np.random.default_rng(0).random((4, 5, 6)).astype(np.float32)
QFORM, SFORM = np.diag([-2.0, -2, 3, 1]), np.diag([-2.0, -2, 3, 1])
SFORM[:3, 3] = [-30, 20, 0]


@pytest.mark.parametrize(
    ("q", "s", "unit", "notes"),
    [
        ((QFORM, 1), (QFORM, 1), "mm", []),
        ((QFORM, 1), (SFORM, 2), "mm", ["qform and sform differ by up to 30 mm"]),
        ((QFORM, 0), (SFORM, 0), "mm", ["neither qform nor sform"]),
        ((QFORM, 0), (QFORM, 2), "micron", ["unit is the micron"]),
        ((QFORM, 0), (np.diag([2.2, 2.2, 3.3, 1]), 2), "mm", ["voxel size 2.2 x 2.2 x 3.3 is not pixdim's 2 x 2 x 3"]),
    ],
)
def test_unusual_geometry_is_noted_and_no_finding(tmp_path, q, s, unit, notes):
    image = nib.Nifti1Image(VALUES, QFORM)
    image.set_qform(*q)
    image.set_sform(*s)
    image.header.set_xyzt_units(unit)
    nib.save(image, tmp_path / "v.nii")
    report = inspect_file(tmp_path / "v.nii")
    assert report.findings == []
    assert len(report.notes) == len(notes)
    assert all(words in note for words, note in zip(notes, report.notes, strict=True))


def test_a_report_tells_of_turns_axes_and_means(tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray((VALUES[0] * 255).astype(np.uint8)).save(tmp_path / "a.png", exif=exif)
    assert inspect_file(tmp_path / "a.png").notes == ["turned by its EXIF orientation 6"]
    assert inspect_file(tmp_path / "a.png").shape == (6, 5)
    assert inspect_file(tmp_path / "a.png").axcodes is None
    write_image(tmp_path / "v.nii", VALUES, QFORM)
    report = inspect_file(tmp_path / "v.nii")
    assert report.axcodes == "LPS"
    assert report.mean == pytest.approx(VALUES.mean(dtype=np.float64))


def test_values_that_float32_cannot_hold_are_found(tmp_path):
    nib.save(nib.Nifti1Image(VALUES.astype(np.float64) * 1e39, QFORM), tmp_path / "v.nii")
    assert [what for what, _ in inspect_file(tmp_path / "v.nii").findings] == ["intensities beyond float32"]


def test_a_mask_is_reported_by_what_it_marks(tmp_path):
    marked = VALUES[0] > 0.5
    Image.fromarray(marked.astype(np.uint8) * 255).convert("RGB").save(tmp_path / "m.png")
    report = inspect_mask(tmp_path / "m.png")
    assert (report.findings, report.shape, report.channels) == ([], (5, 6), 1)
    assert report.mean == marked.mean()
    Image.fromarray((VALUES[0] * 255).astype(np.uint8)).save(tmp_path / "m.png")
    ((_, told),) = inspect_mask(tmp_path / "m.png").findings
    assert "label_threshold" in told
    assert inspect_mask(tmp_path / "m.png", threshold=100).findings == []


def test_grids_are_compared_from_reports_and_from_headers(tmp_path):
    write_image(tmp_path / "v.nii", VALUES, QFORM)
    write_image(tmp_path / "m.nii", VALUES > 0, SFORM)
    assert grid_difference(inspect_file(tmp_path / "v.nii"), inspect_mask(tmp_path / "m.nii")) == (
        "affine off by up to 30 mm"
    )
    with pytest.raises(InputError, match=r"case a: its mask m\.nii is not on the image's grid: affine off"):
        require_grid("case a: its mask m.nii", image_grid(tmp_path / "v.nii"), image_grid(tmp_path / "m.nii"))
    require_grid("itself", image_grid(tmp_path / "v.nii"), image_grid(tmp_path / "v.nii"))


def test_the_reader_gives_monai_what_the_package_reads(tmp_path):
    image = nib.Nifti1Image(VALUES[..., None], np.diag([2000.0, 2000, 3000, 1]))
    image.header.set_xyzt_units("micron")
    nib.save(image, tmp_path / "v.nii.gz")
    nib.save(nib.Nifti1Image(VALUES[..., :1], QFORM), tmp_path / "slice.nii.gz")
    exif = Image.Exif()
    exif[274] = 8
    Image.fromarray(np.zeros((5, 7, 3), np.uint8)).save(tmp_path / "c.jpg", exif=exif)
    load = LoadImaged("image", image_only=True, ensure_channel_first=True)
    load.register(ImageFileReader())
    volume = load({"image": tmp_path / "v.nii.gz"})["image"]
    np.testing.assert_array_equal(volume, VALUES[None])
    np.testing.assert_allclose(volume.affine, np.diag([2.0, 2, 3, 1]))
    assert load({"image": tmp_path / "slice.nii.gz"})["image"].shape == (1, 4, 5)
    assert load({"image": tmp_path / "c.jpg"})["image"].shape == (3, 7, 5)
    small = LoadImaged("image", image_only=True)
    small.register(ImageFileReader(most_bytes=100))
    with pytest.raises(InputError, match="max_read_gib"):
        small({"image": tmp_path / "v.nii.gz"})

from __future__ import annotations

import gzip
import random
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from monai_iltm.data.errors import InputError
from monai_iltm.data.files import inspect_file
from monai_iltm.data.images import image_grid, read_image, write_image

RNG = np.random.default_rng(0)
COUNTS = RNG.integers(-900, 900, (4, 5, 6)).astype(np.int16)
QFORM = np.array([[-2.0, 0, 0, 46], [0, -2, 0, 38], [0, 0, 3, 0], [0, 0, 0, 1]])
SFORM = np.array([[-2.0, 0, 0, 16], [0, -2, 0, 58], [0, 0, 3, -10], [0, 0, 0, 1]])


def save(path: Path, array: np.ndarray = COUNTS, q=QFORM, qcode=1, s=SFORM, scode=2, unit="mm", kind=nib.Nifti1Image):
    image = kind(array, np.eye(4))
    image.set_sform(s, scode)
    image.set_qform(q, qcode)
    image.header.set_xyzt_units(unit)
    nib.save(image, path)


@pytest.mark.parametrize("name", ["v.nii", "v.nii.gz"])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.float32, np.float64])
def test_reads_what_nibabel_reads(tmp_path, name, kind, order, dtype):
    header = kind.header_class(endianness=order)
    header.set_data_dtype(np.dtype(dtype).newbyteorder(order))
    nib.save(kind(np.abs(COUNTS).astype(dtype), QFORM, header), tmp_path / name)
    file = read_image(tmp_path / name)
    expected = nib.load(tmp_path / name)
    np.testing.assert_array_equal(file.array, np.asanyarray(expected.dataobj))
    np.testing.assert_array_equal(file.affine, expected.affine)
    assert file.array.dtype == dtype
    assert file.array.dtype.isnative


@pytest.mark.parametrize(("dtype", "kind"), [(np.int16, np.float32), (np.uint8, np.float32), (np.int32, np.float64)])
def test_scaled_values_are_those_of_nibabel(tmp_path, dtype, kind):
    image = nib.Nifti1Image(np.abs(COUNTS).astype(dtype), QFORM)
    nib.save(image, tmp_path / "v.nii")
    whole = bytearray((tmp_path / "v.nii").read_bytes())
    whole[112:120] = np.array([0.37, -1024], "<f4").tobytes()  # scl_slope, scl_inter
    (tmp_path / "v.nii").write_bytes(whole)
    values = read_image(tmp_path / "v.nii").array
    assert values.dtype == kind
    np.testing.assert_array_equal(values, np.asanyarray(nib.load(tmp_path / "v.nii").dataobj).astype(kind))


def test_a_flipped_bit_is_seen_by_the_checksum(tmp_path):
    save(tmp_path / "v.nii.gz", (RNG.random((12, 12, 12)) * 900).astype(np.int16))
    whole, draw = (tmp_path / "v.nii.gz").read_bytes(), random.Random(0)
    for _ in range(60):
        damaged = bytearray(whole)
        damaged[draw.randrange(400, len(whole))] ^= 1 << draw.randrange(8)
        (tmp_path / "v.nii.gz").write_bytes(bytes(damaged))
        with pytest.raises(InputError, match=r"v\.nii\.gz: (cannot be read|cut short)"):
            read_image(tmp_path / "v.nii.gz")


def test_gzip_members_count_together_and_garbage_behind_them_does_not_pass(tmp_path):
    save(tmp_path / "v.nii")
    whole = (tmp_path / "v.nii").read_bytes()
    packed = gzip.compress(whole[:400]) + gzip.compress(whole[400:])
    (tmp_path / "v.nii.gz").write_bytes(packed)
    np.testing.assert_array_equal(read_image(tmp_path / "v.nii.gz").array, COUNTS)
    (tmp_path / "v.nii.gz").write_bytes(packed + b"garbage")
    with pytest.raises(InputError, match="cannot be read"):
        read_image(tmp_path / "v.nii.gz")


def test_the_header_of_a_pair_is_no_volume(tmp_path):
    nib.save(nib.Nifti1Pair(COUNTS, QFORM), tmp_path / "v.hdr")
    (tmp_path / "v.hdr").rename(tmp_path / "v.nii")
    with pytest.raises(InputError, match="pair"):
        read_image(tmp_path / "v.nii")


@pytest.mark.parametrize(
    ("claimed", "seen"), [((4, 5, 6, 1), (4, 5, 6)), ((20, 6, 1), (20, 6)), ((20, 6, 1, 1), (20, 6)), ((4, 1, 30),) * 2]
)
def test_trailing_axes_of_one_are_read_away_and_written_back(tmp_path, claimed, seen):
    save(tmp_path / "v.nii.gz", COUNTS.reshape(claimed))
    file = read_image(tmp_path / "v.nii.gz")
    assert file.array.shape == seen == image_grid(tmp_path / "v.nii.gz")[0]
    write_image(tmp_path / "map.nii.gz", file.array > 0, like=tmp_path / "v.nii.gz")
    result = nib.load(tmp_path / "map.nii.gz")
    assert result.shape == claimed
    np.testing.assert_array_equal(np.asarray(result.dataobj), COUNTS.reshape(claimed) > 0)


FORMS = [
    {},
    {"qcode": 0, "scode": 0},
    {"qcode": 0},
    {"scode": 0},
    {"qcode": 1, "s": QFORM, "scode": 1},
    {"unit": "micron", "q": np.diag([2000.0, 2000, 3000, 1]), "s": np.diag([2000.0, 2000, 3000, 1])},
    {"unit": "meter", "q": np.diag([0.002, 0.002, 0.003, 1])},
    {"unit": "unknown"},
    {"kind": nib.Nifti2Image},
]


@pytest.mark.parametrize("forms", FORMS, ids=str)
@pytest.mark.parametrize("by_path", [True, False])
def test_results_carry_the_whole_geometry_of_their_image(tmp_path, forms, by_path):
    save(tmp_path / "v.nii", **forms)
    like = tmp_path / "v.nii" if by_path else read_image(tmp_path / "v.nii")
    write_image(tmp_path / "map.nii.gz", COUNTS.astype(np.float64), like=like)
    image, result = nib.load(tmp_path / "v.nii"), nib.load(tmp_path / "map.nii.gz")
    assert type(result) is type(image)
    assert result.get_data_dtype() == np.float32
    for name in ("pixdim", "xyzt_units", "dim", "qform_code", "sform_code"):
        np.testing.assert_array_equal(result.header[name], image.header[name])
    np.testing.assert_array_equal(result.affine, image.affine)
    np.testing.assert_array_equal(result.get_qform(), image.get_qform())
    np.testing.assert_array_equal(result.get_sform(), image.get_sform())
    np.testing.assert_array_equal(read_image(tmp_path / "map.nii.gz").affine, read_image(tmp_path / "v.nii").affine)


def test_pixdim_beside_another_sform_stays_as_it_is(tmp_path):
    save(tmp_path / "v.nii", qcode=2, scode=4, s=np.diag([2.2, 2.2, 3.3, 1]))
    write_image(tmp_path / "map.nii", COUNTS, like=tmp_path / "v.nii")
    np.testing.assert_allclose(read_image(tmp_path / "map.nii").affine, np.diag([2.2, 2.2, 3.3, 1]), atol=1e-6)
    np.testing.assert_array_equal(nib.load(tmp_path / "map.nii").header["pixdim"][1:4], [2, 2, 3])


@pytest.mark.parametrize(
    ("codes", "counts"), [((1, 4), "qform"), ((1, 2), "qform"), ((1, 1), "sform"), ((2, 4), "sform"), ((0, 4), "sform")]
)
def test_where_the_forms_name_the_axes_differently_the_scanner_knows_how_the_patient_lay(tmp_path, codes, counts):
    turned = np.array([[0, 0, 3.0, -50], [2, 0, 0, 5], [0, 2, 0, 7], [0, 0, 0, 1]])
    save(tmp_path / "v.nii", qcode=codes[0], s=turned, scode=codes[1])
    image = nib.load(tmp_path / "v.nii")
    expected = image.get_qform() if counts == "qform" else turned
    np.testing.assert_allclose(read_image(tmp_path / "v.nii").affine, expected, atol=1e-6)
    told = any("the scanner's qform counts" in note for note in inspect_file(tmp_path / "v.nii").notes)
    assert told == (counts == "qform")
    write_image(tmp_path / "map.nii", COUNTS, like=tmp_path / "v.nii")
    np.testing.assert_array_equal(nib.load(tmp_path / "map.nii").affine, image.affine)  # the header's own forms, whole


@pytest.mark.parametrize(("unit", "factor"), [("micron", 1e3), ("meter", 1e-3), ("mm", 1), ("unknown", 1)])
def test_affines_are_in_millimetres(tmp_path, unit, factor):
    scaled = np.diag([factor, factor, factor, 1]) @ SFORM
    save(tmp_path / "v.nii", s=scaled, q=scaled, unit=unit)
    np.testing.assert_allclose(read_image(tmp_path / "v.nii").affine, SFORM, atol=1e-5)
    np.testing.assert_allclose(image_grid(tmp_path / "v.nii")[1], SFORM, atol=1e-5)


def test_a_result_on_another_grid_is_refused(tmp_path):
    save(tmp_path / "v.nii")
    with pytest.raises(InputError, match=r"m\.nii: shape \(5, 4, 6\) is not on the grid of its image, \(4, 5, 6\)"):
        write_image(tmp_path / "m.nii", np.zeros((5, 4, 6)), like=tmp_path / "v.nii")


def test_a_claim_of_more_than_the_limit_is_refused_before_it_is_unpacked(tmp_path):
    header = nib.Nifti1Header()
    header.set_data_dtype(np.int16)
    header.set_data_shape((30000, 30000, 3))
    header["vox_offset"], header["magic"] = 352, b"n+1"
    (tmp_path / "bomb.nii.gz").write_bytes(gzip.compress(header.binaryblock + bytes(4)))
    with pytest.raises(InputError, match=r"30000 x 30000 x 3 values, 5\.03 GiB .* 2 GiB .*max_read_gib"):
        read_image(tmp_path / "bomb.nii.gz")
    save(tmp_path / "v.nii.gz")
    with pytest.raises(InputError, match="max_read_gib"):
        read_image(tmp_path / "v.nii.gz", most_bytes=COUNTS.nbytes - 1)
    np.testing.assert_array_equal(read_image(tmp_path / "v.nii.gz", most_bytes=COUNTS.nbytes).array, COUNTS)

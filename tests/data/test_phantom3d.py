from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest
from scipy.ndimage import binary_erosion, distance_transform_edt
from sklearn.metrics import average_precision_score

from monai_iltm.data.errors import InputError
from monai_iltm.data.phantom3d import phantom3d_organs, phantom3d_volume, write_phantom3d
from monai_iltm.data.phantom3d_anatomy import ORGANS
from monai_iltm.data.phantom3d_frame import FIELD, Frame, ellipsoid_depth
from monai_iltm.data.phantom_io import case_generator, planned_cases

SMALL = (32, 32, 48)


def load(datalist):
    return json.loads(datalist.read_text())


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantom") / "set"
    return folder, load(write_phantom3d(folder, training=2, testing=2, clean=1, shape=SMALL))


def test_volume_has_the_stated_shape_range_and_affine():
    suv, mask, affine = phantom3d_volume(np.random.default_rng(0), (24, 20, 40), 2)
    assert suv.shape == mask.shape == (24, 20, 40)
    assert suv.dtype == np.float32
    assert mask.dtype == bool
    assert suv.min() >= 0
    assert 5 < suv.max() < 200
    assert nibabel.aff2axcodes(affine) == ("R", "A", "S")
    np.testing.assert_allclose(np.diag(affine)[:3] * suv.shape, FIELD[:, 1] - FIELD[:, 0])
    np.testing.assert_allclose(affine @ [-0.5, -0.5, -0.5, 1], [*FIELD[:, 0], 1])


def test_upright_frame_puts_body_coordinates_at_their_world_place():
    frame = Frame(SMALL, np.ones(3), np.eye(3), np.zeros(3))
    grid = np.stack([np.broadcast_to(g, SMALL) for g in frame.body_grid(frame.whole())], -1)
    world = np.stack(np.meshgrid(*map(np.arange, SMALL), indexing="ij"), -1) * frame.spacing + frame.affine[:3, 3]
    np.testing.assert_allclose(grid, world, atol=1e-3)


def test_body_grid_undoes_the_pose():
    frame = Frame.draw(np.random.default_rng(0), SMALL)
    box = (slice(3, 5), slice(10, 12), slice(20, 23))
    x, y, z = frame.body_grid(box)
    world = frame.to_world(np.array([x[1, 0, 2], y[1, 0, 2], z[1, 0, 2]]))
    np.testing.assert_allclose(world, (frame.affine @ [4, 10, 22, 1])[:3], atol=1e-2)


def test_ellipsoid_depth_of_a_sphere_is_its_distance():
    points = np.array([[0.0, 3.0, 12.0]], np.float32)
    depth = ellipsoid_depth((0, 0, 0), (10, 10, 10))(points, points * 0, points * 0)
    np.testing.assert_allclose(depth, [[10, 7, -2]], atol=1e-5)


def test_patient_stands_head_up_with_the_liver_on_the_right_and_the_heart_on_the_left():
    suv, _, affine = phantom3d_volume(np.random.default_rng(1), SMALL, 0)
    organs = phantom3d_organs(np.random.default_rng(1), SMALL)

    def centre(name):
        return affine[:3, :3] @ np.argwhere(organs == ORGANS.index(name)).mean(0) + affine[:3, 3]

    assert centre("brain")[2] > centre("lung")[2] > centre("liver")[2] > centre("kidney")[2]
    assert centre("liver")[0] > 20
    assert centre("spleen")[0] < -60
    assert centre("stomach")[1] > centre("kidney")[1]
    assert suv[organs == ORGANS.index("brain")].mean() > suv[organs == ORGANS.index("liver")].mean()


def test_liver_has_its_uptake_and_the_stated_noise():
    means, variations = [], []
    for seed in range(4):
        suv, _, _ = phantom3d_volume(np.random.default_rng(seed), (64, 64, 96), 0, noise=0.1)
        organs = phantom3d_organs(np.random.default_rng(seed))
        liver = suv[binary_erosion(organs == ORGANS.index("liver"), iterations=2)]
        assert liver.size > 100
        means.append(liver.mean())
        variations.append(liver.std() / liver.mean() * np.sqrt(liver.mean() / 2))
    assert min(means) > 1.6
    assert max(means) < 2.7
    assert np.mean(variations) == pytest.approx(0.1, rel=0.15)


@pytest.mark.parametrize("lesions", [0, 1, 3])
def test_mask_is_empty_exactly_without_lesions(lesions):
    for seed in range(3):
        assert phantom3d_volume(np.random.default_rng(seed), SMALL, lesions)[1].any() == (lesions > 0)


def test_lesions_change_the_volume_only_around_themselves():
    healthy, _, _ = phantom3d_volume(np.random.default_rng(5), lesions=0, noise=0)
    ill, mask, affine = phantom3d_volume(np.random.default_rng(5), lesions=2, noise=0, contrast=(3, 3))
    gain = ill - healthy
    assert gain[mask].min() > 0.9  # half a lesion's peak is a lesion, and its peak is well over 1.8
    beyond = distance_transform_edt(~mask, sampling=np.diag(affine)[:3]) > 15
    assert gain[beyond].max() < 0.1


def test_same_seed_same_volume_other_seed_another():
    first, again, other = (phantom3d_volume(np.random.default_rng(seed), SMALL, 1)[0] for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_written_set_is_read_back_with_its_affine(written):
    folder, datalist = written
    assert [len(datalist[split]) for split in ("training", "testing", "clean")] == [2, 2, 1]
    entry = datalist["training"][1]
    suv, mask, affine = phantom3d_volume(case_generator(0, "training", 1), SMALL, lesions_of(1))
    image, label = (nibabel.load(folder / entry[key]) for key in ("image", "label"))
    assert image.get_data_dtype() == np.float32
    np.testing.assert_array_equal(np.asarray(image.dataobj), suv)
    np.testing.assert_array_equal(np.asarray(label.dataobj) > 0, mask)
    for picture in (image, label):
        np.testing.assert_allclose(picture.affine, affine, atol=1e-4)


def lesions_of(index):
    parameters = {"training": 2, "testing": 0, "clean": 0, "contamination": 1.0, "lesions": (1, 3), "seed": 0}
    return next(lesions for _, at, _, lesions in planned_cases(parameters) if at == index)


def test_written_phantom_is_left_alone_and_another_is_refused(written):
    folder, _ = written
    before = (folder / "datalist.json").stat().st_mtime_ns
    write_phantom3d(folder, training=2, testing=2, clean=1, shape=list(SMALL))
    assert (folder / "datalist.json").stat().st_mtime_ns == before
    with pytest.raises(InputError, match=r"another phantom: noise 0\.13 \(asked for 0\.2\)"):
        write_phantom3d(folder, training=2, testing=2, clean=1, shape=SMALL, noise=0.2)


@pytest.mark.parametrize("wrong", [{"shape": (64, 64, 8)}, {"site_preference": 2}, {"sites": 99}])
def test_impossible_parameters_are_refused_by_name(tmp_path, wrong):
    with pytest.raises(InputError, match=str(next(iter(wrong.values()))).strip("()")):
        write_phantom3d(tmp_path / "set", **wrong)


@pytest.mark.parametrize("site_preference", [0.0, 0.3, 0.8])
def test_trivial_detectors_fail(site_preference):
    parameters = {"training": 16, "testing": 12, "clean": 0, "contamination": 1.0, "lesions": (1, 3), "seed": 0}
    drawn: dict[str, list] = {"training": [], "testing": []}
    for split, index, _, lesions in planned_cases(parameters):
        if lesions:
            rng = case_generator(0, split, index)
            drawn[split].append(phantom3d_volume(rng, SMALL, lesions, site_preference=site_preference)[:2])
    volumes = np.stack([volume for volume, _ in drawn["training"]])
    test = np.stack([volume for volume, _ in drawn["testing"]])
    truth = np.stack([mask for _, mask in drawn["testing"]]).ravel()
    median = np.median(volumes, 0)
    deviation = np.median(np.abs(volumes - median), 0)
    assert average_precision_score(truth, test.ravel()) < 0.25
    for floor in (0.05, 0.2, 1.0):  # whichever floor keeps the quotient finite
        assert average_precision_score(truth, (np.abs(test - median) / (deviation + floor)).ravel()) < 0.25

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import average_precision_score

from monai_iltm.data.errors import InputError
from monai_iltm.data.phantom2d import phantom2d_slice, write_phantom2d
from monai_iltm.data.phantom_io import case_generator, holds_lesions, planned_cases


def read(folder, entry, key="image"):
    with Image.open(folder / entry[key]) as picture:
        return np.asarray(picture)


def load(datalist):
    return json.loads(datalist.read_text())


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantom") / "set"
    return folder, load(write_phantom2d(folder, training=4, testing=4, clean=2, size=48))


def test_slice_has_the_stated_shape_and_range():
    image, mask = phantom2d_slice(np.random.default_rng(0), 2, size=48)
    assert image.shape == mask.shape == (48, 48)
    assert image.dtype == np.float32
    assert mask.dtype == bool
    assert image.min() >= 0
    assert image.max() <= 1


@pytest.mark.parametrize("lesions", [0, 1, 3])
def test_mask_is_empty_exactly_without_lesions(lesions):
    for seed in range(5):
        assert phantom2d_slice(np.random.default_rng(seed), lesions)[1].any() == (lesions > 0)


def test_lesions_change_the_slice_only_around_themselves():
    healthy, _ = phantom2d_slice(np.random.default_rng(5), 0, noise=0)
    ill, mask = phantom2d_slice(np.random.default_rng(5), 2, noise=0)
    gain = ill - healthy
    assert gain[mask].min() > 0.08
    assert np.abs(gain[~mask]).mean() < 0.01


def test_preferred_lesions_share_body_places_and_scattered_ones_do_not():
    def busiest(preference):
        draws = (phantom2d_slice(np.random.default_rng(i), 2, site_preference=preference, sites=2) for i in range(60))
        return np.mean([mask for _, mask in draws], 0).max()

    assert busiest(1.0) > 2 * busiest(0.0)


def test_same_seed_same_slice_other_seed_another():
    first, again, other = (phantom2d_slice(np.random.default_rng(seed), 1)[0] for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_a_case_depends_on_neither_the_set_nor_its_size(written, tmp_path):
    folder, datalist = written
    smaller = load(write_phantom2d(tmp_path / "small", training=2, testing=1, clean=0, size=48))
    assert "clean" not in smaller
    for split in ("training", "testing"):
        for entry in smaller[split]:
            assert entry in datalist[split]
            np.testing.assert_array_equal(read(tmp_path / "small", entry), read(folder, entry))


def test_written_set_has_labels_where_lesions_are(written):
    folder, datalist = written
    assert [len(datalist[split]) for split in ("training", "testing", "clean")] == [4, 4, 2]
    assert all("label" in entry for entry in datalist["training"])
    assert ["label" in entry for entry in datalist["testing"]] == [True, False, True, False]
    assert all(entry["normal"] and "label" not in entry for entry in datalist["clean"])
    for entry in datalist["training"]:
        assert read(folder, entry).dtype == np.uint8
        assert set(np.unique(read(folder, entry, "label"))) == {0, 255}


@pytest.mark.parametrize("contamination", [0.0, 0.3, 0.55, 1.0])
def test_contamination_is_the_share_of_every_beginning(contamination):
    ill = np.cumsum([holds_lesions("training", i, contamination) for i in range(200)])
    expected = np.arange(1, 201) * contamination
    assert np.all(np.abs(ill - expected) < 1)
    assert ill[-1] == round(200 * contamination)


def test_written_phantom_is_left_alone_and_another_is_refused(written):
    folder, _ = written
    before = (folder / "datalist.json").stat().st_mtime_ns
    assert write_phantom2d(folder, training=4, testing=4, clean=2, size=48) == folder / "datalist.json"
    assert (folder / "datalist.json").stat().st_mtime_ns == before
    with pytest.raises(InputError, match=r"another phantom: seed 0 \(asked for 1\)"):
        write_phantom2d(folder, training=4, testing=4, clean=2, size=48, seed=1)


def test_half_written_phantom_is_finished(tmp_path):
    datalist = write_phantom2d(tmp_path / "set", training=1, testing=1, clean=0, size=48)
    before = load(datalist)
    datalist.unlink()
    assert load(write_phantom2d(tmp_path / "set", training=1, testing=1, clean=0, size=48)) == before


def test_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match=r"no phantom\.json"):
        write_phantom2d(tmp_path)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"contamination": 1.5}, "contamination"),
        ({"site_preference": -0.1}, "site_preference"),
        ({"sites": 0}, "sites"),
        ({"lesions": (0, 2)}, "fewest"),
        ({"lesions": (3, 2)}, "fewest"),
        ({"training": -1}, "training"),
        ({"size": 8}, "32"),
    ],
)
def test_impossible_parameters_are_refused_by_name(tmp_path, wrong, told):
    with pytest.raises(InputError, match=told):
        write_phantom2d(tmp_path / "set", **wrong)
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize("site_preference", [0.0, 0.3, 0.8])
def test_trivial_detectors_fail(site_preference):
    parameters = {"training": 96, "testing": 48, "clean": 0, "contamination": 1.0, "lesions": (1, 3), "seed": 0}
    drawn: dict[str, list] = {"training": [], "testing": []}
    for split, index, _, lesions in planned_cases(parameters):
        if lesions:
            rng = case_generator(0, split, index)
            drawn[split].append(phantom2d_slice(rng, lesions, site_preference=site_preference))
    images = np.stack([image for image, _ in drawn["training"]])
    test = np.stack([image for image, _ in drawn["testing"]])
    truth = np.stack([mask for _, mask in drawn["testing"]]).ravel()
    median = np.median(images, 0)
    deviation = np.median(np.abs(images - median), 0)
    assert average_precision_score(truth, test.ravel()) < 0.25
    for floor in (1 / 255, 0.02, 0.1):  # whichever floor keeps the quotient finite
        assert average_precision_score(truth, (np.abs(test - median) / (deviation + floor)).ravel()) < 0.25

"""The bundle that a run leaves: it stands alone and scores a volume it has never seen, in that volume's own grid."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
from monai.bundle import ConfigParser, verify_metadata, verify_net_in_out

from monai_iltm.data.contamination import sha256
from monai_iltm.data.documents import read_json
from monai_iltm.data.phantom3d import write_phantom3d

pytestmark = pytest.mark.slow  # a whole run in 3D
BUNDLES = Path(__file__).resolve().parents[2] / "bundles"
SETTINGS = {
    "spatial_dims": 3,
    "image_size": [16, 16, 16],
    "intensity_range": [0, 15],
    "spacing": [30.0, 25.0, 60.0],
    "vqvae_epochs": 1,
    "prior_epochs": 1,
    "draws": 2,
}


@pytest.fixture(scope="module")
def left(run: Callable[..., SimpleNamespace], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of a tiny 3D run."""
    folder = tmp_path_factory.mktemp("run3d")
    write_phantom3d(folder / "data", training=3, testing=0, clean=0, shape=(16, 16, 16))
    run(BUNDLES / "iltm", "train", dataset_dir=str(folder / "data"), output_dir=str(folder / "run"), **SETTINGS)
    return folder / "run" / "bundle"


@pytest.fixture
def packaged(left: Path, tmp_path: Path) -> Path:
    """That bundle in a folder of its own, and nothing beside it."""
    return Path(shutil.copytree(left, tmp_path / "alone" / "scorer"))


def oblique() -> np.ndarray:
    """Voxels of three sizes in mm, turned about two axes, the first axis reversed."""
    turn, tilt = np.eye(3), np.eye(3)
    turn[:2, :2] = [[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]]
    tilt[1:, 1:] = [[np.cos(0.2), -np.sin(0.2)], [np.sin(0.2), np.cos(0.2)]]
    affine = np.eye(4)
    affine[:3, :3] = turn @ tilt @ np.diag([-20.0, 33.0, 50.0])
    affine[:3, 3] = [90.0, -130.0, 40.0]
    return affine


@pytest.mark.filterwarnings("ignore:parsing config_file:UserWarning")
def test_it_keeps_the_contract(packaged):
    """Its metadata tells the run's own shapes; all that the source bundle holds is there, and the weights."""
    source = {path.relative_to(BUNDLES / "kde_inferer") for path in (BUNDLES / "kde_inferer").rglob("*")}
    there = {path.relative_to(packaged) for path in packaged.rglob("*")}
    assert {path for path in source if path.parts[0] != "models"} | {Path("models"), Path("models/model.pt")} == there
    config, meta = packaged / "configs" / "inference.json", packaged / "configs" / "metadata.json"
    for path in (config, meta):
        assert path.read_text() == json.dumps(json.loads(path.read_text()), indent=4) + "\n"
    schema = Path(__file__).with_name("metadata_schema.json")
    verify_metadata(str(meta), filepath=str(schema), hash_val=sha256(schema), hash_type="sha256")
    assert read_json(meta)["network_data_format"]["inputs"]["image"]["spatial_shape"] == [16, 16, 16]
    told = {"meta_file": str(meta), "config_file": str(config), "bundle_root": str(packaged)}
    verify_net_in_out("network_def", **told, device="cpu")
    inferer = ConfigParser(ConfigParser.load_config_file(config)).get_parsed_content("inferer")
    assert (inferer.draws, inferer.decodes) == (2, 2)


def test_it_scores_a_new_volume_alone(packaged, command, tmp_path):
    """From its own folder, and from an empty one, by nothing but its path."""
    rng = np.random.default_rng(0)
    volume = nib.nifti1.Nifti1Image(rng.uniform(0, 9, (19, 10, 13)).astype(np.float32), oblique())
    (tmp_path / "new").mkdir()
    (tmp_path / "empty").mkdir()
    nib.save(volume, tmp_path / "new" / "patient.nii.gz")
    done = command(packaged, "configs/inference.json", dataset_dir=tmp_path / "new")
    assert done.returncode == 0, done.stderr
    told = {"bundle_root": packaged, "dataset_dir": tmp_path / "new", "output_dir": tmp_path / "out"}
    done = command(tmp_path / "empty", str(packaged / "configs" / "inference.json"), **told)
    assert done.returncode == 0, done.stderr
    surprise, mask = (nib.load(tmp_path / "out" / f"patient_{kind}.nii.gz") for kind in ("surprise", "mask"))
    for image in (surprise, mask):
        assert image.shape == volume.shape
        np.testing.assert_allclose(image.affine, volume.affine, atol=1e-4)
    assert np.isfinite(surprise.get_fdata()).all()
    threshold = read_json(packaged / "configs" / "inference.json")["surprise_threshold"]
    np.testing.assert_array_equal(mask.get_fdata() > 0, surprise.get_fdata(dtype=np.float32) > threshold)
    again = nib.load(packaged / "output" / "patient_surprise.nii.gz")
    np.testing.assert_array_equal(again.get_fdata(), surprise.get_fdata())

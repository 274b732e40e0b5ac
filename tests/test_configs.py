"""The overlays in configs/: every id is known, every data set's layout is read, every network fits its grid."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser

from monai_iltm import __main__ as cli
from monai_iltm.data.images import write_image
from monai_iltm.engines.begin import begin_run
from monai_iltm.engines.ids import flat
from monai_iltm.engines.method import require_known, run_stage
from monai_iltm.engines.names import NAMES, SETTINGS, full_id, full_ids
from monai_iltm.engines.overrides import check_ids, load_configs
from monai_iltm.engines.settings import kind_of
from monai_iltm.networks import token_grid
from monai_iltm.store import RunFolder

HOME = Path(__file__).resolve().parents[1]
IMPORTS = HOME / "bundles" / "iltm" / "configs" / "train.json"
OVERLAYS = sorted((HOME / "configs").glob("*.json"))
DATA_SETS = [path for path in OVERLAYS if "images::size" in json.loads(path.read_text())]


def parsed(*overlays: Path, **values) -> ConfigParser:
    parser = ConfigParser(ConfigParser.load_config_files([str(IMPORTS), *map(str, overlays)]))
    parser.update({"bundle_root": str(IMPORTS.parents[1]), **values})
    return parser


@pytest.mark.parametrize("path", OVERLAYS, ids=lambda path: path.stem)
def test_an_overlay_holds_known_ids_alone(path):
    overlay = load_configs([path])
    content = {**load_configs([IMPORTS, path]), "bundle_root": str(IMPORTS.parents[1])}
    check_ids(overlay, load_configs([IMPORTS]))
    for one in flat(overlay.get(SETTINGS, {})):
        require_known(one, content)


@pytest.mark.parametrize("path", DATA_SETS, ids=lambda path: path.stem)
def test_the_vqvae_divides_the_image_and_the_inferer_is_made(path):
    parser = parsed(path)
    size = parser["images::size"]
    with torch.device("meta"):
        vqvae = parser.get_parsed_content("network_def").vqvae
    assert all(n * vqvae.factor == whole for n, whole in zip(token_grid(size, vqvae), size, strict=True))
    parser.get_parsed_content("train::inferer")


def test_paper_mode_over_a_data_set_is_the_papers_settings():
    paper = parsed(HOME / "configs" / "phantom2d.json", HOME / "configs" / "paper_mode.json")
    expected = {"order": "raster", "looks": 1, "threshold": 0.005, "flag_decay": 0.125, "draws": 60, "decodes": 5}
    expected |= {"bandwidth_floor": 0.05, "mask_density": 0.005, "tolerance": 0.01, "blur": 0.0, "levels": [1.0]}
    assert {name: paper[full_id(name)] for name in expected} == expected
    paper.get_parsed_content("train::inferer")
    paper.get_parsed_content("marks")


def grey(seed: int, shape: tuple[int, ...] = (40, 36, 3)) -> np.ndarray:
    """Noise with a bright bar whose place tells the images apart."""
    image = np.random.default_rng(seed).integers(0, 100, shape, dtype=np.uint8)
    image[:, 9 * (seed % 4) : 9 * (seed % 4) + 9] += 150
    return image


@pytest.fixture
def mvtec(tmp_path) -> Path:
    root = tmp_path / "mvtec"
    for index in range(3):
        write_image(root / f"bottle/train/good/{index:03d}.png", grey(index))
    write_image(root / "bottle/test/good/000.png", grey(9))
    for index in range(4):
        write_image(root / f"bottle/test/broken/{index:03d}.png", grey(20 + index))
        mask = np.zeros((40, 36), dtype=bool)
        mask[10:20, 8:16] = True
        write_image(root / f"bottle/ground_truth/broken/{index:03d}_mask.png", mask)
    return root


@pytest.fixture
def autopet(tmp_path) -> Path:
    root, affine = tmp_path / "autopet", np.diag([-4.0, 4.0, 6.0, 1.0])
    for patient in range(4):
        study = root / f"PETCT_{patient:03d}/study"
        suv = np.random.default_rng(patient).gamma(2.0, 1.0, (12, 10, 14)).astype(np.float32)
        lesion = np.zeros(suv.shape, dtype=np.uint8)
        lesion[4:7, 4:7, 5:9] = 1
        write_image(study / "SUV.nii.gz", suv + 8 * lesion, affine)
        write_image(study / "SEG.nii.gz", lesion, affine)
    return root


def test_autopets_own_grid_fits_its_overlay(tmp_path, capsys):
    """400 x 400 pixels of 2.036 mm, slices of 3 mm, as the set's NIfTI has them; a few slices here."""
    affine = np.diag([-2.036, 2.036, 3.0, 1.0])
    for patient in range(3):
        study = tmp_path / f"sets/PETCT_{patient:03d}/study"
        write_image(study / "SUV.nii.gz", np.random.default_rng(patient).random((400, 400, 8), np.float32), affine)
        write_image(study / "SEG.nii.gz", np.ones((400, 400, 8), dtype=np.uint8), affine)
    cli.prepare(str(tmp_path / "sets"), preset="autopet", out=str(tmp_path / "list.json"))
    assert "no problems found" in capsys.readouterr().out


TINY = {"num_codes": 8, "code_features": 4, "vqvae_epochs": 1, "prior_epochs": 1, "augmented_versions": 0}
TINY |= {"vqvae_batch_size": 2, "prior_batch_size": 2, "draws": 2, "decodes": 1, "max_rounds": 2, "bracket": False}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mvtec", "autopet"])
def test_the_real_sets_layouts_run_two_rounds_in_tiny_trees(name, smallest_networks, request, tmp_path):
    """From the sets' own folders through every stage: what the overlay says, with tiny networks."""
    size = [16, 16] if name == "mvtec" else [12, 12, 16]
    told = {**smallest_networks, **TINY, "image_size": size, "dataset_dir": str(request.getfixturevalue(name))}
    settings = json.loads((HOME / "configs" / f"{name}.json").read_text()) | full_ids(told)
    run_stage(IMPORTS.parents[1], "train", {**settings, "output_dir": str(tmp_path / "run")})
    rounds = RunFolder(tmp_path / "run").rounds()
    assert json.loads(rounds[-1].record.read_text())["verdict"] != "continue"
    for folder in rounds:
        assert 0 <= json.loads(folder.metrics.read_text())["auroc"] <= 1
        assert list(folder.masks.iterdir())


def test_the_mvtec_overlay_draws_its_contamination(mvtec, tmp_path):
    parser = parsed(HOME / "configs" / "mvtec.json", dataset_dir=str(mvtec), output_dir=str(tmp_path / "run"))
    run = begin_run(tmp_path / "run", mvtec, {"seed": 0}, parser.get_parsed_content("layout"))
    datalist = json.loads(run.datalist.read_text())
    assert datalist["protocol"]["contamination"] == 0.8
    drawn, tested = ({case["image"] for case in datalist[split]} for split in ("training", "testing"))
    assert not drawn & tested


def test_the_page_of_settings_names_every_short_name_and_its_id():
    rows = [line.split(" | ") for line in (HOME / "docs" / "settings.md").read_text().splitlines() if line[:3] == "| `"]
    told = {name.strip("| `"): (one.strip("`"), form.rstrip("| ")) for name, one, form in rows}
    kinds = {name: kind_of(one) for name, one in NAMES.items()}
    forms = {name: kind.form if kind else "what its component takes" for name, kind in kinds.items()}
    assert told == {name: (one, forms[name]) for name, one in NAMES.items()}

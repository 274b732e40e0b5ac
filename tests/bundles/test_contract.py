"""The network that a bundle defines: what MONAI's own commands, with the bundle's own settings, ask of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Events
from monai.bundle import ConfigParser, ckpt_export, verify_net_in_out
from monai.data import load_net_with_metadata
from monai.utils import convert_to_tensor

from monai_iltm.data.images import write_image
from monai_iltm.data.weights import load_weights
from monai_iltm.engines.method import config_files, read_method


def files(bundle: Path) -> dict[str, str]:
    """The config that holds the network, and the metadata."""
    found = (bundle / "configs" / f"{name}.json" for name in ("inference", "train"))
    config = next(path for path in found if path.is_file())
    return {"config_file": str(config), "meta_file": str(bundle / "configs" / "metadata.json")}


def network(bundle: Path) -> torch.nn.Module:
    torch.manual_seed(0)
    parser = ConfigParser(ConfigParser.load_config_file(files(bundle)["config_file"]))
    parser["bundle_root"] = str(bundle)
    return parser.get_parsed_content("network_def").eval()


@pytest.mark.filterwarnings("ignore:parsing config_file:UserWarning")
def test_network_has_the_shapes_of_the_metadata(bundle):
    verify_net_in_out("network_def", **files(bundle), device="cpu", bundle_root=str(bundle))


# The tracer says what it takes for a constant; that it is one is what the last line shows.
@pytest.mark.filterwarnings("ignore:parsing config_file:UserWarning", "ignore::torch.jit.TracerWarning")
def test_export_gives_the_same_map(bundle, tmp_path):
    net, told = network(bundle), files(bundle)
    torch.save(net.state_dict(), tmp_path / "model.pt")
    model = {"ckpt_file": str(tmp_path / "model.pt"), "filepath": str(tmp_path / "model.ts")}
    ckpt_export("network_def", **model, **told, use_trace=True, bundle_root=str(bundle))
    exported, metadata, extra = load_net_with_metadata(model["filepath"], more_extra_files=[_name(told)])
    assert json.loads(extra[_name(told)]) == json.loads(Path(told["config_file"]).read_text())
    form = metadata["network_data_format"]["inputs"]["image"]
    images = torch.rand(1, form["num_channels"], *form["spatial_shape"])
    with torch.no_grad():
        torch.testing.assert_close(exported(images), net(images))


def _name(told: dict[str, str]) -> str:
    return Path(told["config_file"]).name


# ---- what every method owes: a map, its training, and that scoring leaves it as it is ----


@pytest.fixture
def part(of, weights, tmp_path) -> Callable[..., Any]:
    """A part of a bundle's config with tiny settings, by its id; several of one config come of one parser."""

    def build(bundle: Path, config: str, *ids: str, **settings: Any) -> list[Any]:
        parser = ConfigParser(ConfigParser.load_config_files([str(path) for path in config_files(bundle, config)]))
        own = {**weights(bundle.name, config), **settings, "output_dir": str(tmp_path / "out")}
        parser.update({"bundle_root": str(bundle), **of(config_files(bundle, config), **own)})
        return [parser.get_parsed_content(one) for one in ids]

    return build


def with_config(bundle: Path, config: str) -> Path:
    if bundle.name == "iltm" or not (bundle / "configs" / f"{config}.json").is_file():
        pytest.skip(f"{bundle.name} has no {config}.json of its own network")
    return bundle


@pytest.fixture
def scorer(bundle, part, weights) -> tuple[Any, torch.nn.Module, torch.Tensor]:
    """A bundle's inferer, its trained network and three test images."""
    net, inferer, cases, steps = part(
        with_config(bundle, "inference"), "inference", "network_def", "inferer", "cases", "preprocessing"
    )
    load_weights(net, weights(bundle.name, "inference")["weights"])
    images = [convert_to_tensor(steps(case)["image"], track_meta=False) for case in cases[-3:]]
    return inferer, net.eval(), torch.stack(images)


def test_a_map_is_on_the_images_grid_finite_and_has_numbers_a_case(scorer):
    inferer, net, images = scorer
    scored = inferer.score(images, net)
    assert scored.surprise.shape == (3, 1, *images.shape[2:])
    assert scored.surprise.dtype == torch.float32
    assert not scored.surprise.requires_grad
    for result in (scored.surprise, *scored.pictures.values(), *scored.numbers.values()):
        assert len(result) == 3
        assert torch.isfinite(result).all()
    assert all(picture.shape[2:] == images.shape[2:] for picture in scored.pictures.values())
    assert all(number.shape == (3,) for number in scored.numbers.values())
    assert torch.equal(inferer(images, net), scored.surprise)


def test_a_case_alone_has_the_map_that_it_has_in_a_batch(scorer):
    inferer, net, images = scorer
    together = inferer.score(images, net)
    for index in range(3):
        alone = inferer.score(images[index : index + 1], net)
        torch.testing.assert_close(alone.surprise[0], together.surprise[index], rtol=1e-4, atol=1e-4)
        for name, number in alone.numbers.items():
            torch.testing.assert_close(number[0], together.numbers[name][index], rtol=1e-4, atol=1e-4)


def test_scoring_twice_gives_the_same_and_leaves_the_network_as_it_is(scorer):
    inferer, net, images = scorer
    before = {name: value.clone() for name, value in net.state_dict().items()}
    first = inferer.score(images, net).surprise
    assert torch.equal(inferer.score(images, net).surprise, first)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_a_training_lowers_its_loss_and_moves_all_that_it_trains(bundle, part):
    """The same images with the same draws, before and after a few epochs; nothing is left without a gradient."""
    few = {"amp": False, "train::trainer::max_epochs": 8}
    parts = part(with_config(bundle, "train"), "train", "initialize", "loss", "train::trainer", **few)
    _, loss, trainer = parts
    batch = next(iter(trainer.data_loader))
    tensors = {name: value for name, value in batch.items() if isinstance(value, torch.Tensor)}

    def value() -> float:
        torch.manual_seed(0)  # dropout draws from the global generator
        with torch.no_grad():
            return loss.train()(tensors, torch.Generator().manual_seed(0))["loss"].item()

    first, start = value(), {name: p.detach().clone() for name, p in loss.named_parameters()}
    trainer.run()
    assert value() < first
    still = [name for name, p in loss.named_parameters() if p.requires_grad and torch.equal(p, start[name])]
    assert still == []


@pytest.mark.slow
def test_every_training_that_is_broken_off_ends_as_an_unbroken_one(bundle, part, tmp_path):
    """Whatever a stage keeps between its steps, such as a second optimiser, is in its checkpoint."""
    few, model = {"amp": False, "train::trainer::max_epochs": 4}, tmp_path / "out" / "model.pt"
    for path in sorted((with_config(bundle, "train") / "configs").glob("train*.json")):

        def prepared(config: str = path.stem) -> Any:
            return part(bundle, config, "initialize", "train::trainer", **few)[1]

        prepared().run()
        whole = load_state(model)
        shutil.rmtree(model.parent)
        broken = prepared()
        broken.add_event_handler(Events.EPOCH_COMPLETED(once=2), break_off)
        with pytest.raises(BrokenOffError):
            broken.run()
        assert not model.exists()
        prepared().run()
        resumed = load_state(model)
        shutil.rmtree(model.parent)
        assert [name for name in whole if not torch.equal(whole[name], resumed[name])] == [], path.name


class BrokenOffError(Exception):
    """As a kill between two epochs."""


def break_off() -> None:
    raise BrokenOffError


def load_state(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)


@pytest.mark.slow
def test_who_detects_anomalies_finds_bright_squares_on_a_flat_ground(bundle, part, weights, tmp_path, run):
    """Learned from clean images alone: pixel AUROC of at least .9."""
    told = json.loads((bundle / "configs" / "metadata.json").read_text())
    if "detection" not in told["task"].lower():
        pytest.skip(f"{bundle.name} detects no anomalies: {told['task']}")
    squares(tmp_path / "data")
    longer = {"train::trainer::max_epochs": 30, "train::trainer::batch_size": 8}
    longer |= {"dataset_dir": str(tmp_path / "data"), "draws": 8, "max_rounds": 1, "threshold_times_uniform": 1.0}
    if bundle.name == "iltm":
        pytest.skip("iltm trains the others; its scorer stands here too")
    chain(bundle, run, tmp_path, longer)
    assert json.loads((tmp_path / "scored" / "metrics.json").read_text())["auroc"] >= 0.9


def chain(bundle: Path, run: Callable[..., Any], folder: Path, settings: dict[str, Any]) -> None:
    """Train whatever a bundle scores with, and evaluate it."""
    scorers = {read_method(bundle.parent, path.name).scorer: path.name for path in bundle.parent.iterdir()}
    method = read_method(bundle.parent, scorers[bundle.name])
    models: dict[str, str] = {}
    for stage in method.stages:
        out = folder / stage.name
        takes = {setting: models[other] for setting, other in stage.takes.items()}
        run(bundle.parent / stage.bundle, stage.config, **{**settings, **takes, "output_dir": str(out)})
        models[stage.name] = str(out / "model.pt")
    told = {"weights": models[method.stages[-1].name], "output_dir": str(folder / "scored")}
    run(bundle, "evaluate", **{**settings, **told})


def squares(folder: Path) -> None:
    """24 training images of grey noise, 4 test images with a bright square each."""
    rng = np.random.default_rng(0)
    for index in range(28):
        image, truth = rng.integers(90, 110, (32, 32), dtype=np.uint8), np.zeros((32, 32), bool)
        if index < 24:
            write_image(folder / "train" / f"p{index:02d}.png", image)
            continue
        truth[8 + 2 * (index % 4) :, 12:][:9, :9] = True
        write_image(folder / "test" / f"p{index}.png", np.where(truth, 250, image).astype(np.uint8))
        write_image(folder / "test" / f"p{index}_mask.png", truth)

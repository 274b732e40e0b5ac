from __future__ import annotations

import re
from pathlib import Path
from typing import BinaryIO

import pytest
import torch
from torch import nn

from monai_iltm.data.errors import InputError
from monai_iltm.data.weights import load_weights, save_in_one_step


def network(width: int = 3, bias: bool = True) -> nn.Module:
    return nn.Sequential(nn.Linear(2, width, bias=bias), nn.BatchNorm1d(width))


def saved(path: Path, content: object | None = None) -> Path:
    save_in_one_step(path, network().state_dict() if content is None else content)
    return path


def test_weights_come_back_to_the_last_bit(tmp_path):
    there, here = network(), network()
    save_in_one_step(tmp_path / "deep" / "model.pt", there.state_dict())
    load_weights(here, tmp_path / "deep" / "model.pt")
    assert all(torch.equal(value, here.state_dict()[name]) for name, value in there.state_dict().items())
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["model.pt"]


def test_another_process_may_save_to_the_same_place_meanwhile(monkeypatch, tmp_path):
    path, save, others = tmp_path / "tokens.pt", torch.save, iter([True])

    def interrupted(content: object, where: BinaryIO) -> None:
        save(content, where)
        if next(others, False):
            save_in_one_step(path, {"tokens": torch.zeros(2)})

    monkeypatch.setattr(torch, "save", interrupted)
    save_in_one_step(path, {"tokens": torch.ones(2)})
    assert torch.equal(torch.load(path, weights_only=True)["tokens"], torch.ones(2))
    assert [found.name for found in tmp_path.iterdir()] == ["tokens.pt"]


class Harmful:
    def __reduce__(self) -> tuple:
        return Path.touch, (Path("harm"),)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (Path.unlink, "weight file not found"),
        (lambda path: path.write_bytes(b""), "no readable state dict"),
        (lambda path: path.write_bytes(b"not an archive"), "no readable state dict"),
        (lambda path: path.write_bytes(path.read_bytes()[:600]), "no readable state dict"),
        (lambda path: torch.save({"0.weight": Harmful()}, path), "no readable state dict"),
        (lambda path: torch.save(torch.rand(3), path), "no state dict but Tensor"),
        (lambda path: torch.save([1, 2], path), "no state dict but list"),
    ],
)
def test_what_cannot_be_read_is_one_line_with_the_path(tmp_path, monkeypatch, spoil, words):
    monkeypatch.chdir(tmp_path)
    path = saved(tmp_path / "model.pt")
    spoil(path)
    with pytest.raises(InputError, match=f"^{re.escape(str(path))}: {words}") as caught:
        load_weights(network(), path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "harm").exists()


def test_a_folder_is_no_weight_file(tmp_path):
    with pytest.raises(InputError, match="weight file not found"):
        load_weights(network(), tmp_path)


def test_weights_of_another_network_are_named(tmp_path):
    path = saved(tmp_path / "model.pt")
    with pytest.raises(InputError, match=r"another network \(without \[\], with \['0.bias'\]\)"):
        load_weights(network(bias=False), path)
    with pytest.raises(InputError, match=r"without .*0\.weight"):
        load_weights(network(), saved(path, {"epoch": 3}))


def test_weights_of_another_shape_are_named_with_both(tmp_path):
    with pytest.raises(InputError, match=r"0.weight is \(3, 2\), these settings need \(5, 2\)"):
        load_weights(network(5), saved(tmp_path / "model.pt"))


def test_a_refused_file_leaves_the_network_as_it_was(tmp_path):
    net = network(5)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with pytest.raises(InputError):
        load_weights(net, saved(tmp_path / "model.pt"))
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_a_failed_write_leaves_the_file_that_was_there(tmp_path):
    path = saved(tmp_path / "model.pt")
    before = path.read_bytes()
    with pytest.raises(Exception, match=r"pickle|local object"):
        save_in_one_step(path, {"0.weight": lambda: None})
    assert path.read_bytes() == before
    load_weights(network(), path)


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file: folder cannot be written"):
        save_in_one_step(tmp_path / "file" / "model.pt", {})


def test_a_single_flipped_bit_is_noticed(tmp_path):
    path = saved(tmp_path / "model.pt")
    content = bytearray(path.read_bytes())
    place = content.find(network().state_dict()["1.running_var"].numpy().tobytes())  # ones: easy to find
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="no readable state dict: damaged"):
        load_weights(network(), path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused_by_name(tmp_path, value):
    state = network().state_dict()
    state["1.running_mean"][2] = value
    with pytest.raises(InputError, match=r"1\.running_mean holds values that are not finite"):
        load_weights(network(), saved(tmp_path / "model.pt", state))


def test_the_advice_of_torch_to_trust_the_file_is_not_passed_on(tmp_path):
    torch.save({"0.weight": Harmful()}, tmp_path / "model.pt")
    with pytest.raises(InputError) as caught:
        load_weights(network(), tmp_path / "model.pt")
    assert "weights_only" not in str(caught.value)

"""The network that a bundle defines: what MONAI's own commands, with the bundle's own settings, ask of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser, ckpt_export, verify_net_in_out
from monai.data import load_net_with_metadata


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

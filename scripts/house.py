"""How much of the house one has to know: `python scripts/house.py` counts configs' lines, and files on an image's way.

Prints a JSON object: what is counted, and the most that it may be.
"""

from __future__ import annotations

import itertools
import json
import re
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from monai.bundle import ConfigParser
from monai.utils import convert_to_tensor

import monai_iltm
from monai_iltm.data.phantom2d import write_phantom2d
from monai_iltm.engines.ids import put
from monai_iltm.engines.overrides import load_configs

HOME = Path(__file__).resolve().parents[1]
OWN = str(Path(monai_iltm.__file__).parent)
PASSED_ON = re.compile(r'^\s*"(\w+)": "@\1",?$', re.M)  # a line that only says `"x": "@x"`
NETWORKS = ("VQVAE", "MaskedTransformer", "LatentPrior")
MOST = {
    "share of lines that pass a value on": 0.05,
    "lines of bundles/iltm/configs/train.json": 120,
    "definitions of a network in a config": 1,
    "own files that an image enters": 26,
    "switches between own files": 360,
}
TINY = {"images::size": [32, 32], "vqvae::channels": [8, 8], "vqvae::num_res_layers": 1, "vqvae::num_embeddings": 16}
TINY |= {"vqvae::embedding_dim": 8, "transformer::width": 16, "transformer::depth": 1, "transformer::heads": 2}
TINY |= {"inferer::draws": 3, "inferer::decodes": 2, "inferer::threshold_times_uniform": 1.5, "cases::split": "testing"}


def counts() -> dict[str, float]:
    """What is counted, by the names of ``MOST``."""
    files = [path for path in HOME.glob("bundles/*/configs/*.json") if path.name != "metadata.json"]
    texts = [path.read_text() for path in files]
    train = HOME / "bundles" / "iltm" / "configs" / "train.json"
    passed_on = sum(len(PASSED_ON.findall(text)) for text in texts)
    entered = way_of_an_image()
    switches = sum(one != other for one, other in itertools.pairwise(entered))
    return {
        "share of lines that pass a value on": round(passed_on / sum(len(text.splitlines()) for text in texts), 4),
        "lines of bundles/iltm/configs/train.json": len(train.read_text().splitlines()),
        "definitions of a network in a config": max(definitions(text, name) for text in texts for name in NETWORKS),
        "own files that an image enters": len(set(entered)),
        "switches between own files": switches,
    }


def definitions(text: str, name: str) -> int:
    """How often a config makes a network of a class."""
    return len(re.findall(rf'(\.{name}"|\$networks\.{name}\()', text))


def way_of_an_image() -> list[str]:
    """The package's own files, as their functions are called one after another from an image's file to its map."""
    with tempfile.TemporaryDirectory() as folder:
        parser = tiny_bundle(Path(folder))
        network, inferer = (parser.get_parsed_content(one) for one in ("network_def", "inferer"))
        dataset = parser.get_parsed_content("dataset")
        with called() as entered:
            image = convert_to_tensor(dataset[0]["image"], track_meta=False)
            inferer.score(image[None], network)
    return entered


def tiny_bundle(folder: Path) -> ConfigParser:
    """The bundle that scores, with an untrained network and one image that has not been scored."""
    data = write_phantom2d(folder / "data", training=2, testing=1, clean=0, size=32).parent
    bundle = HOME / "bundles" / "kde_inferer"
    content = load_configs([bundle / "configs" / "inference.json"])
    paths = {"bundle_root": str(bundle), "dataset_dir": str(data), "output_dir": str(folder / "out")}
    for one, value in {**TINY, **paths, "weights": str(folder / "model.pt")}.items():
        put(content, one, value)
    parser = ConfigParser(content)
    network = parser.get_parsed_content("network_def").eval()
    torch.save(network.state_dict(), folder / "model.pt")
    return parser


@contextmanager
def called() -> Iterator[list[str]]:
    """The own file of every own function that is called meanwhile."""
    entered: list[str] = []

    def look(frame: FrameType, event: str, _: Any) -> None:
        name = frame.f_code.co_filename
        if event == "call" and name.startswith(OWN):
            entered.append(str(Path(name).relative_to(OWN)))

    sys.setprofile(look)
    try:
        yield entered
    finally:
        sys.setprofile(None)


def main() -> None:
    """Print the counts; exit code 1 where one is more than it may be."""
    warnings.simplefilter("ignore")
    found = counts()
    print(json.dumps({name: {"found": found[name], "most": most} for name, most in MOST.items()}, indent=4))
    sys.exit(any(found[name] > most for name, most in MOST.items()))


if __name__ == "__main__":
    main()

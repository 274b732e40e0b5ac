"""Every verb of the bench at tiny sizes: what it writes, that results agree, and that a wrong result makes it fail."""

from __future__ import annotations

import importlib
import json
import math
import re
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from monai_iltm.data.errors import InputError
from monai_iltm.networks import VQVAE, MaskedTransformer
from monai_iltm.networks.local_decoder import LocalDecoder
from monai_iltm.ops.healing import heal

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
FIELDS = {"step", "size", "ours_s", "reference_s", "reference_scaled", "floor_s", "speedup", "over_floor", "peak_mib"}
ROWS = {
    "density": 1,
    "healing": 3,
    "decode": 6,
    "likelihood": 1,
    "train": 4,
    "image": 2,
    "scaling": 14,
    "profile": 8,
    "memory": 5,
    "bodies": 1,
    "machines": 13,
}
RUNS = [pytest.param(verb, marks=pytest.mark.slow if verb == "machines" else ()) for verb in ROWS]


@pytest.fixture
def bench_measure(bench) -> ModuleType:
    return importlib.import_module("bench_measure")


@pytest.fixture
def steps(bench) -> ModuleType:
    return bench.steps


@pytest.fixture
def plain(steps) -> ModuleType:
    return steps.plain


def run(bench: ModuleType, verb: str, out: Path) -> dict:
    bench.bench(verb, small=True, threads=1, repeats=2, out=str(out))
    return json.loads((out / f"{verb}.json").read_text())


@pytest.mark.parametrize("verb", RUNS)
def test_a_verb_writes_its_rows(bench, tmp_path, verb):
    record = run(bench, verb, tmp_path)
    assert (record["device"], record["threads"], record["small"]) == ("cpu", 1, True)
    assert set(record["versions"]) == {"python", "torch", "monai", "numba"}
    assert record["cpu_model"]
    assert len(record["rows"]) == ROWS[verb]
    if verb == "machines":
        return check_shared_work(record["rows"])
    if verb == "profile":
        return check_shares(record["rows"])
    for row in record["rows"]:
        assert set(row) >= FIELDS | {"agreement"}
        assert row["ours_s"] > 0
        assert row["peak_mib"] is None or row["peak_mib"] >= 0
        assert (row["predicted_mib"] or 0) > 0 or verb != "memory"
        if verb in ("train", "scaling", "memory", "bodies") or row["step"] == "image, bfloat16":
            assert row["reference_s"] is None
        else:
            assert row["speedup"] == pytest.approx(row["reference_s"] / row["ours_s"])
            assert row["agreement"]
            assert row["reference_scaled"]
        if row["floor_s"] is not None:
            assert row["over_floor"] == pytest.approx(row["ours_s"] / row["floor_s"])
        else:
            assert verb in ("image", "scaling", "memory", "bodies")


def check_shares(rows: list[dict]) -> None:
    """Of each run all its time, of the density what reading takes."""
    for row in rows[:-1]:
        assert sum(int(share) for share in re.findall(r"(\d+)%", row["parts"])) == pytest.approx(100, abs=4)
        assert "matrix products" in row["parts"] or "convolutions" in row["parts"]
        assert row["ours_s"] > 0
    assert re.fullmatch(r"reading \d+%", rows[-1]["parts"])


def check_shared_work(rows: list[dict]) -> None:
    """One process beside two, then the prediction for 1, 8 and 64, which lacks the scoring of the bench of bodies."""
    assert [row["processes"] for row in rows] == [1, 2] * 5 + [1, 8, 64]
    assert [row["step"].rpartition(", ")[2] for row in rows[6:10:2]] == ["in turn", "side by side"]
    assert all(row["ours_s"] > 0 and not row["gradient_mb"] for row in rows[6:10])
    for row in rows[1:6:2]:
        assert ("equal, bit for bit" if row["step"] == "scoring" else "weights within") in row["agreement"]
        assert row["ours_s"] > 0
    assert rows[1]["longest_over_mean"] >= 1
    for row in rows[2:6]:
        weights = int(re.search(r"([\d,]+) weights", row["size"])[1].replace(",", ""))
        assert row["gradient_mb"] == (None if row["processes"] == 1 else pytest.approx(4e-6 * weights))
        assert row["sent_mb"] == row["gradient_mb"]  # 2 (n - 1) / n is 1 for two
    assert all("without scoring" in row["step"] for row in rows[10:])


def test_a_token_reaches_as_far_as_the_decoders_kernels(steps):
    """By hand, along an axis: a 3 x 3 kernel adds 2 cells, a residual unit 4, a transposed one doubles and adds 2."""
    torch.manual_seed(0)  # of so few channels a ReLU may let none through
    vqvae = VQVAE(2, 1, (4, 4), 1, num_embeddings=2, embedding_dim=4).eval()
    told = re.match(r"a token reaches (\d+) pixels", steps.in_reach(vqvae, (16, 16)))
    assert int(told[1]) == 2 * (2 * (1 + 2 + 4) + 2 + 4) + 2


def shifted(function, by):
    return lambda *arguments, **options: function(*arguments, **options) + by


def other_tokens(transformer, tokens, suspect, draws, generator=None):
    healed = heal(transformer, tokens, suspect, draws, generator)
    return torch.where(suspect, (healed + 1) % transformer.num_codes, healed)


@pytest.mark.parametrize("by", [0.01, math.nan])
@pytest.mark.parametrize(("verb", "name"), [("density", "kde_log_density"), ("likelihood", "token_log_likelihood")])
def test_a_wrong_number_makes_the_bench_fail(bench, steps, monkeypatch, tmp_path, verb, name, by):
    monkeypatch.setattr(steps, name, shifted(getattr(steps, name), by))
    with pytest.raises(InputError, match=r"nats at \d+ .*differ by"):
        run(bench, verb, tmp_path)
    assert not list(tmp_path.iterdir())


def test_wrong_tokens_make_the_bench_fail(bench, steps, monkeypatch, tmp_path):
    monkeypatch.setattr(steps, "heal", other_tokens)
    with pytest.raises(InputError, match="redrawn tokens: 3 of 3"):
        run(bench, "healing", tmp_path)
    net = MaskedTransformer(256, (4, 4), 16, 2, 2, "any").eval()
    suspect = steps.suspects((4, 4), "scattered", 3)[None]
    step = steps.healing_step(net, steps.codes_of(net, 1, 16), suspect, draws=2, few=1)
    with pytest.raises(InputError, match="redrawn tokens: 6 of 6"):
        step.check(step.ours(), {})


def test_wrong_images_make_the_bench_fail(bench, monkeypatch, tmp_path):
    images = LocalDecoder.images
    monkeypatch.setattr(LocalDecoder, "images", lambda *arguments: 1.01 * images(*arguments))
    for verb in ("decode", "image"):
        with pytest.raises(InputError, match="images: ours and the reference's differ"):
            run(bench, verb, tmp_path)


def test_write_makes_the_page_and_the_plots(bench, tmp_path):
    with pytest.raises(InputError, match="nothing measured yet"):
        bench.bench("write", out=str(tmp_path), docs=str(tmp_path))
    for verb in ("density", "scaling"):
        run(bench, verb, tmp_path)
    bench.bench("write", out=str(tmp_path), docs=str(tmp_path / "docs"))
    text = (tmp_path / "docs" / "performance.md").read_text()
    assert "| density | 20 reconstructions x 4000 voxels |" in text
    assert "20 of 4000 voxels" in text
    assert "Tiny sizes" in text
    assert "](performance_scaling.png)" in text
    assert (tmp_path / "docs" / "performance_scaling.png").read_bytes().startswith(b"\x89PNG")


def test_runs_take_turns(bench_measure):
    calls: list[str] = []
    runs = {name: (lambda name=name: calls.append(name)) for name in ("ours", "reference")}
    assert set(bench_measure.race(runs, 3, torch.device("cpu"))) == set(runs)
    assert calls == ["ours", "reference"] * 3


def test_parts_make_the_whole(bench_measure, monkeypatch):
    """Seconds by hand: ours 2 x 3, the reference 5 x 10 + 7 x 100, the floor 2 x 1."""
    seconds = {"ours": 3.0, "a": 5.0, "b": 7.0, "floor": 1.0, "read": 1.0, "multiply": 1.0}
    monkeypatch.setattr(bench_measure, "race", lambda runs, *_: {name: seconds[name] for name in runs})
    parts = {"a": (lambda ours: ours, 10.0), "b": (lambda ours: ours, 100.0)}
    step = bench_measure.Step("a step", "small", lambda: 1, weight=2.0, reference=parts, floor=lambda: None)
    row = bench_measure.measure(step, torch.device("cpu"), 1, small=True)
    assert (row["ours_s"], row["reference_s"], row["floor_s"]) == (6.0, 750.0, 2.0)
    assert (row["speedup"], row["over_floor"], row["floor_of"]) == (125.0, 3.0, "bare convolutions")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the system does not tell the resident set")
def test_peak_memory_sees_what_is_taken_and_given_back(bench_measure):
    def take() -> None:
        ones = torch.ones(2**24)  # 64 MiB
        time.sleep(0.1)  # a busy machine may not look every millisecond
        del ones

    assert 60 < bench_measure.peak_mib(take, torch.device("cpu")) < 100


def test_the_reference_density_by_hand(plain):
    """Two values, 0 and 1, at x = 0: sigma 1/2, h = (2/3)^(1/5) / 2 + 0.05."""
    h = 0.5 * (2 / 3) ** 0.2 + 0.05
    expected = math.log((1 + math.exp(-0.5 / h**2)) / (2 * h * math.sqrt(2 * math.pi)))
    found = plain.voxel_by_voxel(np.zeros(1, np.float32), np.array([[0.0], [1.0]], np.float32), 0.05)
    assert found.item() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("kind", ["scattered", "clustered"])
@pytest.mark.parametrize("order", ["raster", "any"])
def test_the_floor_of_healing_is_not_above_what_is_done(steps, plain, order, kind):
    net = MaskedTransformer(64, (8, 8), 32, 6, 2, order).eval()
    tokens, suspect = steps.codes_of(net, 1, 64), steps.suspects((8, 8), kind)[None]
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        heal(net, tokens, suspect, 5)
    _, flops = plain.healing_flops(net, suspect[0], 5)
    assert 0.7 * counter.get_total_flops() < flops <= counter.get_total_flops()


def test_entries_of_healing_by_hand(plain):
    suspect = torch.zeros(16, dtype=torch.bool)
    suspect[[3, 5, 10]] = True
    for order, entries in (("raster", 4 + 6 * 7), ("any", 14 + 6 * 5)):  # BOS stands before the first token
        assert plain.healing_flops(MaskedTransformer(8, (4, 4), 8, 1, 1, order), suspect, 6)[0] == entries


def test_bare_convolutions_do_the_networks_own(plain):
    vqvae = VQVAE(2, 1, (8, 16), 1, num_embeddings=8, embedding_dim=4).train()
    image = torch.rand(2, 1, 16, 16)
    floor = plain.bare_convolutions(lambda: vqvae(image), backward=True)
    with FlopCounterMode(display=False) as bare:
        floor()
    with FlopCounterMode(display=False) as whole:
        vqvae(image)[0].sum().backward()
    products = sum(n for name, n in whole.get_flop_counts()["Global"].items() if "conv" in str(name))
    assert bare.get_total_flops() == products > 0


@pytest.mark.slow
def test_a_mistake_is_one_line_on_the_shell():
    command = [sys.executable, str(SCRIPTS / "bench.py"), "densty"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1
    assert done.stderr.startswith("error: no verb 'densty': density, healing")
    assert done.stderr.count("\n") == 1

"""One step of each training stage, and what goes into it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator
from torch import nn

from monai_iltm.data.contamination import sha256
from monai_iltm.data.documents import write_json
from monai_iltm.data.errors import InputError
from monai_iltm.data.images import write_image
from monai_iltm.data.weights import save_in_one_step
from monai_iltm.engines.scoring import UnclaimedCases, pending_cases, run_cases
from monai_iltm.engines.step import TrainStep, score_step
from monai_iltm.engines.tokens import encode_cases, load_start
from monai_iltm.inferers import KDEInferer, MapInferer, Scored
from monai_iltm.losses import TokenLoss
from monai_iltm.networks import VQVAE, LatentPrior, MaskedTransformer
from monai_iltm.ops.tokens import pool_mask
from monai_iltm.store import ResultFolder
from monai_iltm.transforms import augmentation, preprocessing

CPU = torch.device("cpu")


def pair(order: str = "any") -> LatentPrior:
    torch.manual_seed(0)
    vqvae = VQVAE(2, 1, (8, 8), 1, num_embeddings=8, embedding_dim=4)
    vqvae.train()(torch.rand(4, 1, 16, 16))
    return LatentPrior(vqvae, MaskedTransformer(8, (4, 4), width=8, depth=1, heads=2, order=order, groups=2)).eval()


def engine_of(network: nn.Module, **more) -> SimpleNamespace:
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    state = SimpleNamespace(device=CPU, iteration=1)
    return SimpleNamespace(network=network, optimizer=optimizer, amp=False, state=state, **more)


# ---- training ----


class Distance(nn.Module):
    """A loss with parts: how far a number is from what the batch and the generator say."""

    def __init__(self) -> None:
        super().__init__()
        self.number = nn.Parameter(torch.zeros(3))

    def forward(self, batch: dict, generator: torch.Generator) -> dict:
        far = (self.number - batch["image"].mean() - torch.rand(1, generator=generator)).square().sum()
        return {"loss": far + 1, "far": far}


def test_a_step_moves_the_network_by_its_loss_and_tells_the_parts():
    engine = engine_of(Distance())
    told = TrainStep()(engine, {"image": torch.ones(2), "case": ["a", "b"]})
    assert told["loss"] == pytest.approx(told["far"] + 1)
    assert engine.network.number[0].item() == pytest.approx(1e-2)  # Adam's first step


def test_a_gradient_is_clipped_where_that_is_asked_for():
    norms = []
    for clip in (None, 0.5):
        engine = engine_of(Distance())
        TrainStep(clip=clip)(engine, {"image": torch.full((2,), 100.0)})
        norms.append(engine.network.number.grad.norm().item())
    assert norms[0] > 100
    assert norms[1] == pytest.approx(0.5)


# ---- stage 2 ----


def case_on_disk(tmp_path: Path, name: str, masked: bool = True) -> dict:
    array = np.random.default_rng(len(name)).integers(0, 256, (13, 16), dtype=np.uint8)
    write_image(tmp_path / f"{name}.png", array)
    mask = np.zeros((13, 16), bool)
    mask[2:9, 4:12] = True
    write_image(tmp_path / f"{name}_mask.png", mask)
    case = {"case": name, "image": str(tmp_path / f"{name}.png")}
    return case | ({"mask": str(tmp_path / f"{name}_mask.png")} if masked else {})


def steps() -> object:
    return preprocessing((16, 16), 1, (0, 255), mask_keys=["mask"])


def test_cases_become_tokens_and_suspects(tmp_path):
    network = pair()
    cases = [case_on_disk(tmp_path, "a"), case_on_disk(tmp_path, "bc", masked=False)]
    entries = encode_cases(network, cases, steps(), CPU, pool_mode="area", pool_cut=0.5)
    for case, entry in zip(cases, entries, strict=True):
        item = steps()(case)
        assert torch.equal(entry["tokens"], network.tokens(item["image"].as_tensor()[None])[0])
        if "mask" in case:
            assert torch.equal(entry["suspect"], pool_mask(item["mask"].as_tensor()[None] > 0, (4, 4)).flatten())
            assert 0 < entry["suspect"].sum() < 16
        else:
            assert not entry["suspect"].any()


def test_a_vqvae_that_gives_all_images_the_same_tokens_is_refused(tmp_path):
    network = pair()
    cases = [case_on_disk(tmp_path, "a"), case_on_disk(tmp_path, "bc")]
    assert len(encode_cases(network, cases, steps(), CPU)) == 2
    for parameter in network.vqvae.encoder.parameters():
        parameter.data.zero_()
    with pytest.raises(
        InputError, match=r"collapsed: 2 images have the same token at 100\.0% of .* another --seed .* another output"
    ):
        encode_cases(network, cases, steps(), CPU)
    assert len(encode_cases(network, cases[:1], steps(), CPU)) == 1  # one image alone tells nothing


def test_variants_come_after_their_original_and_depend_on_seed_and_case_alone(tmp_path):
    network, moves = pair(), augmentation(rotation=0.5, shift=3.0)
    cases = [case_on_disk(tmp_path, "a"), case_on_disk(tmp_path, "bc")]

    def encode(order: list[dict], seed: int = 0, versions: int = 2) -> list[dict]:
        return encode_cases(network, order, steps(), CPU, moves, versions, pool_cut=0.3, seed=seed)

    entries, plain = encode(cases), encode(cases, versions=0)
    assert len(entries) == 6
    for index in range(2):
        assert torch.equal(entries[3 * index]["tokens"], plain[index]["tokens"])
    turned = encode(cases[::-1])
    for key in ("tokens", "suspect"):
        assert all(torch.equal(entries[i][key], turned[(i + 3) % 6][key]) for i in range(6))
    other = encode(cases, seed=1)
    assert any(not torch.equal(entries[i]["tokens"], other[i]["tokens"]) for i in (1, 2, 4, 5))
    assert any(not torch.equal(entries[1][key], entries[2][key]) for key in ("tokens", "suspect"))


def test_kept_tokens_are_not_encoded_again_and_masks_still_move_with_their_images(tmp_path, monkeypatch):
    network, moves, store = pair(), augmentation(rotation=0.5, shift=3.0, flip_axes=[0], gain=0.1), tmp_path / "tokens"
    unmasked = [case_on_disk(tmp_path, "a", masked=False), case_on_disk(tmp_path, "bc", masked=False)]
    cases = [case_on_disk(tmp_path, "a"), case_on_disk(tmp_path, "bc", masked=False)]

    def encode(listed: list[dict], store: Path | None) -> list[dict]:
        return encode_cases(network, listed, steps(), CPU, moves, 3, pool_cut=0.3, store=store)

    fresh, first = encode(cases, None), encode(unmasked, store)
    assert {path.name for path in store.iterdir()} == {"a.pt", "bc.pt"}
    monkeypatch.setattr(network, "tokens", None)  # whoever encodes fails
    again = encode(cases, store)
    assert not any(entry["suspect"].any() for entry in first)
    assert all(entry["suspect"].any() for entry in again[:4])
    for entry, same in zip(again, fresh, strict=True):
        assert all(torch.equal(entry[key], same[key]) for key in ("tokens", "suspect"))


@pytest.mark.parametrize("order", ["raster", "any"])
def test_steps_of_stage_2_lower_the_loss(order):
    network = pair(order)
    engine = engine_of(TokenLoss(network.transformer))
    tokens = torch.arange(16).remainder(8).expand(4, -1)
    batch = {"tokens": tokens, "suspect": torch.zeros_like(tokens, dtype=torch.bool)}
    losses = []
    for iteration in range(1, 41):
        engine.state.iteration = iteration
        losses.append(TrainStep()(engine, batch)["loss"])
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])
    assert not any(p.grad is not None for p in network.vqvae.parameters())


def test_a_step_draws_by_seed_and_number_alone():
    """A resumed run takes the step that an undisturbed one takes; another seed takes another."""
    tokens = torch.randint(8, (4, 16), generator=torch.Generator().manual_seed(0))
    batch = {"tokens": tokens, "suspect": torch.zeros_like(tokens, dtype=torch.bool)}
    losses = []
    for seed, iteration in ((0, 3), (0, 3), (0, 4), (1, 3)):
        engine = engine_of(TokenLoss(pair().transformer))
        engine.state.iteration = iteration
        torch.rand(iteration)  # whatever was drawn before
        engine.seed = seed
        losses.append(TrainStep()(engine, batch)["loss"])
    assert losses[0] == losses[1]
    assert len(set(losses)) == 3


def test_a_prior_starts_from_stage_1_and_perhaps_from_an_earlier_round(tmp_path):
    source, network = pair(), pair()
    for parameter in source.parameters():
        parameter.data.add_(0.5)
    save_in_one_step(tmp_path / "vqvae.pt", source.vqvae.state_dict())
    save_in_one_step(tmp_path / "model.pt", source.state_dict())
    load_start(network, tmp_path / "vqvae.pt")
    assert torch.equal(network.vqvae.codebook.embedding.weight, source.vqvae.codebook.embedding.weight)
    assert not torch.equal(network.transformer.head.weight, source.transformer.head.weight)
    load_start(network, tmp_path / "vqvae.pt", tmp_path / "model.pt")
    assert torch.equal(network.transformer.head.weight, source.transformer.head.weight)
    with pytest.raises(InputError, match=r"nowhere\.pt: weight file not found"):
        load_start(network, tmp_path / "nowhere.pt")


# ---- stage 3 ----


def scorer_of(inferer: MapInferer, network: nn.Module | None = None) -> SimpleNamespace:
    """What a scoring step reads of MONAI's evaluator, and the events that it fired."""
    fired: list = []
    state = SimpleNamespace(device=CPU, output=None)
    return SimpleNamespace(network=network, inferer=inferer, state=state, fire_event=fired.append, fired=fired)


def test_a_scoring_step_returns_all_that_the_inferer_says():
    network, inferer, image = pair(), KDEInferer(3, 2, alpha=0.5), torch.rand(3, 1, 16, 16)
    engine = scorer_of(inferer, network)
    out, expected = score_step(engine, {"image": image}), inferer.score(image, network)
    assert torch.equal(out["pred"], expected.surprise)
    assert torch.equal(out["healed"], expected.pictures["healed"])
    assert out["numbers"].keys() == expected.numbers.keys()
    assert engine.state.output is out
    assert len(engine.fired) == 1


class Told(MapInferer):
    """Says what it was built with."""

    def __init__(self, scored: Scored) -> None:
        super().__init__()
        self.scored, self.mask = scored, None

    def score(self, images, network, mask=None) -> Scored:
        self.mask = mask
        return self.scored


def test_a_scoring_step_hands_on_the_mask_as_it_is():
    inferer = Told(Scored(torch.zeros(1, 1, 2, 2)))
    score_step(scorer_of(inferer), {"image": torch.zeros(1, 1, 2, 2), "mask": torch.tensor([[[[0.0, 1.0], [2.0, 0]]]])})
    assert inferer.mask.tolist() == [[[[False, True], [True, False]]]]


@pytest.mark.parametrize("part", ["surprise", "healed", "score"])
def test_what_is_not_finite_is_refused_by_its_case(part):
    maps, healed, score = torch.zeros(2, 1, 2, 2), torch.zeros(2, 1, 2, 2), torch.zeros(2)
    {"surprise": maps, "healed": healed, "score": score}[part][1] = torch.nan
    engine = scorer_of(Told(Scored(maps, {"healed": healed}, {"score": score})))
    with pytest.raises(InputError, match=r"^b: its map is not finite, .* lower"):
        score_step(engine, {"image": torch.zeros(2, 1, 2, 2), "case": ["a", "b"]})


def cases_in(folder: Path) -> list[dict[str, str]]:
    """Four cases with a file each."""
    for case in "abcd":
        (folder / case).write_bytes(case.encode())
    return [{"case": case, "image": str(folder / case)} for case in "abcd"]


def test_cases_with_a_record_are_done(tmp_path):
    cases, out, weights = cases_in(tmp_path), tmp_path / "out", tmp_path / "model.pt"
    weights.write_bytes(b"these")
    assert pending_cases(cases, out, weights) == cases
    for case in (cases[0], cases[2]):
        write_json(ResultFolder(out).record(case["case"]), {"image": sha256(case["image"])})
    assert [case["case"] for case in pending_cases(cases, out, weights)] == ["b", "d"]
    Path(cases[0]["image"]).write_bytes(b"another image of that name")
    assert [case["case"] for case in pending_cases(cases, out, weights)] == ["a", "b", "d"]


def test_the_largest_image_is_scored_first(tmp_path):
    cases, weights = cases_in(tmp_path), tmp_path / "model.pt"
    weights.write_bytes(b"these")
    Path(cases[2]["image"]).write_bytes(b"the largest")
    Path(cases[3]["image"]).write_bytes(b"larger")
    assert [case["case"] for case in pending_cases(cases, tmp_path / "out", weights)] == ["c", "d", "a", "b"]


def test_every_case_is_taken_by_the_process_that_is_free(tmp_path):
    """One takes a case and is slow; the other takes all the rest. After a kill they are free again."""
    cases, weights = cases_in(tmp_path), tmp_path / "model.pt"
    weights.write_bytes(b"these")
    for _ in range(2):
        slow, fast = (UnclaimedCases(pending_cases(cases, tmp_path, weights), tmp_path) for _ in range(2))
        assert len(slow) == len(fast) == 4
        slowly = iter(slow)
        assert next(slowly) == 0
        assert list(fast) == [1, 2, 3]
        assert list(slowly) == []


def test_scoring_ends_where_other_processes_have_taken_the_rest(tmp_path, recwarn):
    cases = [{"case": case, "image": torch.zeros(1)} for case in "abcd"]
    sampler, seen = UnclaimedCases(cases, tmp_path), []
    others = iter(UnclaimedCases(cases[2:], tmp_path))

    def step(engine: SupervisedEvaluator, batch: dict) -> dict:
        seen.extend(batch["case"])
        for case in cases[2:] + cases[len(seen) - 1 : len(seen)]:
            write_json(ResultFolder(tmp_path).record(case["case"]), {})
        return dict.fromkeys(others, True)  # which take all that they can get

    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(Dataset(cases), batch_size=1, sampler=sampler),
        network=nn.Identity(),
        iteration_update=step,
    )
    run_cases(evaluator)
    assert seen == ["a", "b"]
    assert not [told for told in recwarn if "iterat" in str(told.message)]  # ignite misses nothing
    assert not sampler.results.claims.exists()


def test_a_case_that_another_process_took_and_left_is_no_result(tmp_path):
    cases = [{"case": case, "image": torch.zeros(1)} for case in "ab"]
    loader = DataLoader(Dataset(cases), batch_size=1, sampler=UnclaimedCases(cases, tmp_path))
    evaluator = SupervisedEvaluator(CPU, loader, nn.Identity(), iteration_update=lambda engine, batch: {})
    assert list(UnclaimedCases(cases, tmp_path)) == [0, 1]
    with pytest.raises(InputError, match="another process took 2 cases and did not finish them, a among them"):
        run_cases(evaluator)
    with pytest.raises(InputError, match="sampler must be UnclaimedCases, found SequentialSampler"):
        run_cases(SupervisedEvaluator(CPU, DataLoader(Dataset(cases)), nn.Identity()))


def test_results_of_other_weights_or_settings_do_not_stand_for_those_of_these(tmp_path):
    cases, out, weights = cases_in(tmp_path), tmp_path / "out", tmp_path / "model.pt"
    weights.write_bytes(b"these")
    pending_cases(cases, out, weights)
    weights.write_bytes(b"others")
    assert pending_cases(cases, out, weights) == cases  # nothing is there yet
    assert pending_cases(cases, out, weights, {"draws": 3}) == cases
    write_json(ResultFolder(out).record("a"), {"image": sha256(cases[0]["image"])})
    assert pending_cases(cases, out, weights, {"draws": 3}) == cases[1:]
    with pytest.raises(InputError, match=r"out holds results of other draws \(3, now 4\): choose another output"):
        pending_cases(cases, out, weights, {"draws": 4})
    weights.write_bytes(b"these")
    with pytest.raises(InputError, match="out holds results of other weights: choose another output folder"):
        pending_cases(cases, out, weights, {"draws": 3})

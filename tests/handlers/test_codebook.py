from __future__ import annotations

from itertools import groupby

import pytest
import torch
from ignite.engine import Engine, Events

from monai_iltm.handlers import CodebookDecay, CodebookUse, StartOverCollapsed
from monai_iltm.networks import VQVAE


def test_code_use_by_hand():
    network = VQVAE(2, 1, (4,), 1, num_embeddings=4, embedding_dim=2)
    use, codebook = CodebookUse(network), network.codebook
    codebook.embedding.weight.data = torch.tensor([[3.0, 1.0], [3.0, -1.0], [0.0, 0.0], [0.0, 0.0]])
    codebook.ema_cluster_size.copy_(torch.tensor([1.0, 1.0, 0.0, 0.0]))
    spread = pytest.approx(0.1**0.5)  # about (3, 0), at distances of 1; from 0 of the root of 10
    assert use(Engine(lambda *_: None)) == {"perplexity": pytest.approx(2.0), "codes_in_use": 2, "code_spread": spread}
    codebook.ema_cluster_size.fill_(3.0)
    codebook.embedding.weight.fill_(7.0)
    assert use(Engine(lambda *_: None)) == {"perplexity": pytest.approx(4.0), "codes_in_use": 4, "code_spread": 0.0}


def decays(epochs: int, *schedule: tuple[float, float]) -> list[float]:
    network = VQVAE(2, 1, (4,), 1, num_embeddings=4, embedding_dim=2)
    engine, seen = Engine(lambda *_: seen.append(network.codebook.decay)), []
    handler = CodebookDecay(network, schedule) if schedule else CodebookDecay(network)
    handler.attach(engine)
    engine.run([0], max_epochs=epochs)
    return seen


def test_the_published_steps_over_240_epochs():
    seen = decays(240)
    changes = {epoch: decay for epoch, decay in enumerate(seen) if epoch == 0 or decay != seen[epoch - 1]}
    assert changes == {0: 0.5, 40: 0.7, 80: 0.8, 160: 0.95, 200: 0.99}


@pytest.mark.parametrize("epochs", [6, 12, 60])
def test_they_scale_with_the_length_of_the_run(epochs):
    lengths = [(decay, len(list(run))) for decay, run in groupby(decays(epochs))]
    sixth = epochs // 6
    assert lengths == [(0.5, sixth), (0.7, sixth), (0.8, 2 * sixth), (0.95, sixth), (0.99, sixth)]


def test_a_short_run_takes_the_steps_it_reaches():
    assert decays(1) == [0.5]
    assert decays(2) == [0.5, 0.8]


def test_a_schedule_of_ones_own():
    assert decays(4, (0.0, 0.9), (0.5, 0.99)) == [0.9, 0.9, 0.99, 0.99]


def epochs_of(spreads: list[float]) -> tuple[list[bool], list[bool], torch.optim.Adam]:
    """Whether weights and codebook are new after each epoch, in which codes of these spreads were seen."""
    torch.manual_seed(0)
    network, image = VQVAE(2, 1, (4,), 1, num_embeddings=2, embedding_dim=1), torch.rand(2, 1, 8, 8)
    optimizer = torch.optim.Adam(network.parameters())

    def epoch(engine: Engine, _: int) -> None:
        network.train()(image)[1].backward()
        optimizer.step()
        away = spreads[engine.state.epoch - 1]
        network.codebook.ema_cluster_size.fill_(1.0)
        network.codebook.embedding.weight.data = torch.tensor([[1.0 - away], [1.0 + away]])
        weights.append(network.encoder.blocks[0].conv.weight.clone())

    engine, weights, new, unstarted = Engine(epoch), [], [], []
    StartOverCollapsed(network, optimizer, seed=1).attach(engine)

    @engine.on(Events.EPOCH_COMPLETED)
    def look() -> None:
        new.append(not torch.equal(network.encoder.blocks[0].conv.weight, weights[-1]))
        unstarted.append(not bool(network.codebook.started))

    engine.run([0], max_epochs=len(spreads))
    return new, unstarted, optimizer


def test_a_collapsed_vqvae_starts_over_and_says_so(capsys):
    new, unstarted, optimizer = epochs_of([0.01, 0.01, 0.01, 0.5, 0.5, 0.5])
    assert new == unstarted == [False, False, True, False, False, False]
    told = capsys.readouterr().out
    assert told == "epoch 3: all images had nearly the same codes (spread 0.01): the VQ-VAE starts over\n"
    assert optimizer.param_groups[0]["lr"] == 1e-3


def test_a_start_that_collapses_again_has_time_before_and_half_the_learning_rate_after(capsys):
    new, _, optimizer = epochs_of([0.01] * 7 + [0.02, 0.01, 0.01, 0.5])
    assert [epoch for epoch, is_new in enumerate(new, 1) if is_new] == [3, 6, 9]
    assert "epoch 6: all images had nearly the same codes (spread 0.01): the VQ-VAE starts over, with half" in (
        capsys.readouterr().out
    )
    assert optimizer.param_groups[0]["lr"] == 1e-3 / 4


def test_what_a_killed_training_knew_of_its_starts_is_kept():
    network = VQVAE(2, 1, (4,), 1, num_embeddings=2, embedding_dim=1)
    handlers = [StartOverCollapsed(network, torch.optim.Adam(network.parameters())) for _ in range(2)]
    handlers[0].last = 7
    handlers[1].load_state_dict(handlers[0].state_dict())
    assert handlers[1].last == 7


def test_the_first_tenth_may_be_what_it_is():
    assert epochs_of([0.01] * 3 + [0.5] * 37)[0] == [False] * 40
    assert epochs_of([0.01] * 4 + [0.5] * 36)[0] == [False] * 3 + [True] + [False] * 36


def test_the_optimiser_forgets_the_old_weights():
    *_, optimizer = epochs_of([0.5, 0.5, 0.01, 0.5])
    assert {int(state["step"]) for state in optimizer.state.values()} == {1}


def test_nothing_is_left_to_learn_after_the_last_epoch():
    assert epochs_of([0.5, 0.5, 0.01])[0] == [False] * 3

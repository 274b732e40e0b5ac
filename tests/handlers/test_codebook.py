from __future__ import annotations

from itertools import groupby

import pytest
from ignite.engine import Engine

from monai_iltm.handlers import CodebookDecay
from monai_iltm.networks import VQVAE


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

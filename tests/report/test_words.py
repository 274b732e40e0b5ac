"""Numbers and paths as a person reads them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from monai_iltm.report.words import accuracy, decimal, percent, redact, shortfall


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("/home/jane.doe/data/pet", "…/pet"),
        ("$Path('/mnt/Study One/x.json')", "$Path('…/x.json')"),
        ("~/runs/a", "…/a"),
        ("C:\\Users\\jane\\pet", "…/pet"),
        ("http://server.local:5000/x", "http:…"),
        ("sqlite:////srv/mlflow.db", "sqlite:…"),
        ("configs/phantom2d.json", "configs/phantom2d.json"),
        (["/a/b/c", 1], '["…/c", 1]'),
        (0.05, "0.05"),
        ("1/K", "1/K"),
    ],
)
def test_redact_keeps_the_last_name_alone(value, told):
    assert redact(value) == told


def test_numbers():
    assert (percent(0.0123), percent(None), decimal(0.98412), decimal(float("nan"))) == ("1.2 %", "–", "0.984", "–")  # noqa: RUF001


@pytest.mark.parametrize(
    ("rounds", "oracle", "told"),
    [
        ([], None, ""),
        ([None], 0.5, ""),
        ([0.4], None, "Average precision on the test images is 0.400 in round 0."),
        ([0.4, 0.5], None, "Average precision on the test images rose from 0.400 in round 0 to 0.500 in round 1."),
        ([0.4, 0.4004], None, "Average precision on the test images stayed at 0.400 from round 0 to round 1."),
        ([0.4, 0.45], 0.6, "in round 1; perfect masks would give 0.600, so 25 % of that gap is closed."),
        ([0.4, 0.3], 0.6, "fell from 0.400 in round 0 to 0.300 in round 1; perfect masks would give 0.600."),
        ([0.4, 0.65], 0.6, "perfect masks would give 0.600, no more than the rounds reach."),
        ([0.029, 0.03], 0.0291, "perfect masks would give 0.029, so that masks have nothing to repair here."),
    ],
)
def test_what_the_rounds_have_gained(rounds, oracle, told):
    def stage(name, value):
        return SimpleNamespace(name=name, metrics={} if value is None else {"average_precision": value})

    brackets = [] if oracle is None else [stage("Oracle masks", oracle)]
    story = SimpleNamespace(rounds=[stage(f"Round {n}", value) for n, value in enumerate(rounds)], brackets=brackets)
    assert accuracy(story).endswith(told)
    assert bool(accuracy(story)) == bool(told)


@pytest.mark.parametrize(
    ("end", "rivals", "told"),
    [
        (None, {"raw_intensity": 0.3}, ""),
        (0.5, {}, ""),
        (0.5, {"raw_intensity": 0.3, "robust_z": 0.5}, ""),
        (0.035, {"raw_intensity": 0.3, "robust_z": 0.01}, "Less useful than raw intensity, without any training"),
        (
            0.035,
            {"raw_intensity": 0.3, "robust_z": 0.04},
            "Not useful here: every detector that learns little or nothing",
        ),
        (
            0.035,
            {"raw_intensity": 0.3, "robust_z": 0.04},
            "raw intensity most (average precision 0.300 against 0.035)",
        ),
    ],
)
def test_a_run_that_learned_nothing_useful_is_called_so(end, rivals, told):
    metrics = {} if end is None else {"average_precision": end}
    trivial = {name: {"average_precision": value} for name, value in rivals.items()}
    story = SimpleNamespace(rounds=[SimpleNamespace(metrics=metrics)], trivial=trivial)
    assert told in shortfall(story)
    assert bool(told) == bool(shortfall(story))

"""Numbers, paths and judgements as a person reads them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from monai_iltm.report.words import decimal, gain, judgement, listed, percent, redact, training_masks


def story(rounds=(), rivals=(), oracle=None, clean=None, **record):
    """Rounds of these average precisions beside detectors and ends of the bracket of these."""
    record |= {"verdict": "converged"}

    def one(name, value):
        return SimpleNamespace(name=name, precision=value, record=record, suspect_share=0.05, change=0.0)

    trivial = {name: {"average_precision": value} for name, value in dict(rivals).items()}
    ends = [one(name, value) for name, value in (("Oracle masks", oracle), ("Clean training", clean)) if value]
    told = [one(f"Round {n}", value) for n, value in enumerate(rounds)]
    return SimpleNamespace(rounds=told, trivial=trivial, brackets=ends, testing=[{}])


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


def test_numbers_and_lists():
    assert (percent(0.0123), percent(None), decimal(0.98412), decimal(float("nan"))) == ("1.2 %", "–", "0.984", "–")  # noqa: RUF001
    assert (listed(["a"]), listed(["a", "b"]), listed(["a", "b", "c"])) == ("a", "a and b", "a, b and c")


@pytest.mark.parametrize(
    ("run", "tone", "told"),
    [
        (story(), "open", "In progress: no round is finished yet."),
        (story([None]), "open", "Not measured, as no truth of the test images is known. Masks settled after 1 round"),
        (story([0.5]), "open", "Not compared yet: average precision 0.500 in round 0."),
        (story([0.5], {"raw_intensity": 0.3}), "good", "Useful: average precision 0.500 in round 0, above raw"),
        (
            story([0.4, 0.59], {"raw_intensity": 0.1, "robust_z": 0.12, "another_one": 0.14}, 0.6, 0.69),
            "good",
            "Good, as with perfect masks: average precision 0.590 in round 1, above raw intensity (0.100), robust "
            "z-score (0.120) and another one (0.140), below oracle masks (0.600) and clean training (0.690).",
        ),
        (story([0.5], {"robust_z": 0.1}, 0.6), "fair", "Useful, but short of perfect masks: "),
        (story([0.5], {"robust_z": 0.49}, 0.6), "fair", "Hardly better than robust z-score: "),
        (story([0.5], {"robust_z": 0.5}), "fair", "level with robust z-score (0.500)."),
        (story([0.5], {}, 0.6), "fair", "Short of perfect masks: "),
        (story([0.1], {"vqvae_residual": 0.3, "robust_z": 0.05}), "bad", "Less useful than VQ-VAE residual: "),
        (story([0.1], {"vqvae_residual": 0.3, "robust_z": 0.2}), "bad", "Not useful here, as all that learns little"),
        # three hundredths of all there is to find: perfect masks are no better, and nothing is good
        (story([0.03], {"robust_z": 0.02}, 0.031), "fair", "Hardly better than robust z-score: "),
    ],
)
def test_the_first_line_holds_the_last_round_against_all_it_stands_beside(run, tone, told):
    said = judgement(run)
    assert said.tone == tone
    assert told in said.text


def test_without_test_images_there_is_no_talk_of_their_truth():
    run = story([None])
    run.testing = []
    assert judgement(run).text.startswith("Not measured, as there are no test images. Masks settled")


@pytest.mark.parametrize(
    ("rounds", "oracle", "told"),
    [
        ([], None, ""),
        ([None, None], 0.5, ""),
        ([0.4], None, ""),
        ([0.4, 0.5], None, "Average precision rose from 0.400 in round 0 to 0.500 in round 1."),
        ([0.4, 0.4004], None, "Average precision stayed at 0.400 from round 0 to round 1."),
        ([0.4, 0.45], 0.6, "to 0.450 in round 1: 25 % of the way to perfect masks."),
        ([0.4, 0.3], 0.6, "Average precision fell from 0.400 in round 0 to 0.300 in round 1."),
        ([0.029, 0.03], 0.0291, "perfect masks give 0.029, so that masks have little to repair here."),
    ],
)
def test_what_the_rounds_have_gained(rounds, oracle, told):
    assert gain(story(rounds, oracle=oracle)).endswith(told)
    assert bool(gain(story(rounds, oracle=oracle))) == bool(told)


def test_what_the_masks_hold_of_the_truth():
    assert "hold 40 % of the anomalous tokens, and 7 % of" in training_masks(
        story([0.1], training_mask={"recall": 0.4, "precision": 0.07})
    )
    assert training_masks(story([0.1], training_mask={})) == training_masks(story()) == ""

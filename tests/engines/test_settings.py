"""What a setting may hold, and what a word of a command line means."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from monai_iltm.data.errors import InputError
from monai_iltm.engines.names import NAMES
from monai_iltm.engines.settings import KINDS, Text, kind_of, read_word, require, require_all

FREE = {"perceptual_loss", "split", "kinds", "training_intensities"}  # whatever a component, or a list, may be
TRAIN = Path(__file__).resolve().parents[2] / "bundles" / "iltm" / "configs" / "train.json"


@pytest.mark.parametrize(
    ("name", "word", "value"),
    [
        ("resize", "false", False),
        ("resize", "NO", False),
        ("skip_bad", "on", True),
        ("amp", "True", True),
        ("image_size", "(64,32)", [64, 32]),
        ("image_size", "[64, 32]", [64, 32]),
        ("seed", "1e3", 1000),
        ("draws", "4", 4),
        ("alpha", "none", None),
        ("alpha", "$None", "$None"),
        ("mask_share", "0.02", 0.02),
        ("intensity_range", "median", "median"),
        ("order", "'any'", "any"),
        ("category", "001", "001"),
        ("category", "2024_11_30", "2024_11_30"),
        ("augment_shift", "3", 3),
        ("augment_shift", "[1,2]", [1, 2]),
        ("unknown", "[1]", [1]),
        ("unknown", "a #2", "a #2"),
    ],
)
def test_a_word_becomes_its_settings_value(name, word, value):
    assert read_word(name, word) == value
    assert type(read_word(name, word)) is type(value)


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("resize", "2"),
        ("image_size", "32"),
        ("image_size", "[32,0]"),
        ("image_size", "[]"),
        ("draws", "two"),
        ("draws", "2.5"),
        ("draws", "True"),
        ("vqvae_epochs", "0"),
        ("mask_share", "2%"),
        ("mask_share", "1"),
        ("memory_gib", "8GB"),
        ("expected_range", "255"),
        ("expected_range", "[255,0]"),
        ("intensity_range", "[5,5]"),
        ("intensity_range", "mean"),
        ("augment_flip_axes", "0"),
        ("vqvae_learning_rate", "nan"),
        ("vqvae_learning_rate", "inf"),
        ("prior_learning_rate", "-0.02"),
        ("prior_weight_decay", "-1"),
        ("head_dropout", "1.0"),
        ("order", "random"),
        ("levels", "[]"),
        ("seed", "None"),
        ("draws", "[" * 1000),
    ],
)
def test_a_word_that_cannot_be_is_refused_in_one_line_with_one_that_can(name, word):
    with pytest.raises(InputError) as refused:
        read_word(name, word)
    line = str(refused.value)
    assert line.startswith(f"{name} is ")
    assert repr(word) in line
    example = line.rsplit(f"--{name} ", 1)[1]
    read_word(name, example)  # what it says to write is right
    assert "\n" not in line


def test_every_example_is_a_value_of_its_kind():
    for name, kind in KINDS.items():
        read_word(name, kind.example)
        assert kind.form, name


def test_every_plain_setting_of_a_run_has_a_kind():
    """Else its mistakes are found by whatever meets them first."""
    content = json.loads(TRAIN.read_text())
    plain = {
        name for name, value in content.items() if not isinstance(value, (dict, list)) and str(value)[:1] not in "$@"
    }
    assert [name for name in [*plain, *NAMES] if name not in FREE and kind_of(name) is None] == []


def test_expressions_and_none_pass_where_they_may():
    require("draws", "@other")
    require("alpha", None)
    with pytest.raises(InputError, match="draws"):
        require("draws", None)
    require_all({"draws": 3, "nobody": object()})
    with pytest.raises(InputError, match="looks"):
        require_all({"draws": 3, "looks": 0})
    assert isinstance(KINDS["dataset_dir"], Text)

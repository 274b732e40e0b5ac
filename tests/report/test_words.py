"""Numbers and paths as a person reads them."""

from __future__ import annotations

import pytest

from monai_iltm.report.words import decimal, percent, redact


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

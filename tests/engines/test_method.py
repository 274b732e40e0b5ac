from __future__ import annotations

import json
from pathlib import Path

import pytest

from monai_iltm.data.errors import InputError
from monai_iltm.engines.method import known_settings, read_method

BUNDLES = Path(__file__).resolve().parents[2] / "bundles"


def declared(tmp_path: Path, content: dict) -> Path:
    path = tmp_path / "bundle" / "configs" / "method.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(content))
    return tmp_path


def test_the_stages_of_latent_token_masking():
    method = read_method(BUNDLES, "iltm")
    vqvae, prior = method.stages
    assert (vqvae.once, prior.once) == (True, False)
    assert (vqvae.title, prior.title) == ("VQ-VAE", "prior")
    assert prior.takes == {"vqvae_weights": "vqvae"}
    assert method.scorer == "kde_inferer"
    assert {"vqvae_epochs", "prior_epochs", "draws"} <= method.ids()


def test_a_bundle_without_a_declaration_is_its_own_only_stage():
    method = read_method(BUNDLES, "dense_vae")
    assert [(stage.name, stage.bundle, stage.config, stage.once) for stage in method.stages] == [
        ("dense_vae", "dense_vae", "train", False)
    ]
    assert method.scorer == "dense_vae"
    assert "vqvae_epochs" not in method.ids()


def test_numbers_fall_by_a_share_a_round_and_those_not_given_stay_so():
    method = read_method(BUNDLES, "iltm")
    fallen = method.fallen({"alpha": 0.8, "threshold": None, "draws": 3}, share=0.5, index=2)
    assert fallen == {"alpha": pytest.approx(0.2), "threshold": None, "threshold_times_uniform": None}
    assert read_method(BUNDLES, "dense_vae").fallen({"alpha": 0.8}, 0.5, 1) == {}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"scorer": "x"}, r"method\.json: no method: 'stages'"),
        ({"stages": [{"name": "a", "bundle": "a", "onec": True}]}, "'onec': did you mean 'once'"),
        ({"stages": [{"name": "a"}]}, r"method\.json: no method: .*bundle"),
        ({"stages": [{"name": "a", "bundle": "a", "takes": {"weights": "b"}}]}, "no setting is called 'b'"),
    ],
)
def test_a_declaration_that_is_none_is_named(tmp_path, content, words):
    with pytest.raises(InputError, match=words):
        read_method(declared(tmp_path, content), "bundle")


def test_a_method_that_is_not_there_names_those_that_are():
    with pytest.raises(InputError, match=r"no method 'dense_va' in .*: dense_vae, iltm"):
        read_method(BUNDLES, "dense_va")


def test_the_settings_that_a_config_of_rounds_may_hold():
    content = {"bundle_root": str(BUNDLES / "iltm"), "method": "dense_vae"}
    assert "dense_epochs" in known_settings(content)
    assert known_settings({"network_def": {}}) == set()

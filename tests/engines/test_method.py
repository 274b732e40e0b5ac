from __future__ import annotations

import json
from pathlib import Path

import pytest

from monai_iltm.data.errors import InputError
from monai_iltm.engines.method import SCORING, read_method, require_known

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
    assert list(method.parts()) == ["vqvae", "prior", SCORING]


def test_a_bundle_without_a_declaration_is_its_own_only_stage():
    method = read_method(BUNDLES, "dense_vae")
    assert [(stage.name, stage.bundle, stage.config, stage.once) for stage in method.stages] == [
        ("dense_vae", "dense_vae", "train", False)
    ]
    assert method.scorer == "dense_vae"


def test_numbers_fall_by_a_share_a_round_and_those_not_given_stay_so():
    method = read_method(BUNDLES, "iltm")
    settings = {"inferer::alpha": 0.8, "inferer::threshold_times_uniform": None, "inferer::draws": 3}
    fallen = method.fallen(settings, share=0.5, index=2)
    assert fallen == {
        "inferer::alpha": pytest.approx(0.2),
        "inferer::threshold": None,
        "inferer::threshold_times_uniform": None,
    }
    assert method.fallen({}, 0.5, 1)["inferer::threshold_times_uniform"] == 2.0  # half of the inferer's own 4
    assert read_method(BUNDLES, "dense_vae").fallen({"inferer::alpha": 0.8}, 0.5, 1) == {}


def test_a_stage_takes_what_its_config_holds_and_what_is_its_own():
    method = read_method(BUNDLES, "iltm")
    settings = {"seed": 3, "vqvae::channels": [8], "transformer::width": 16, "inferer::draws": 2, "nobody": 1}
    own = {"stages::vqvae::optimizer::lr": 0.1, "stages::prior::optimizer::lr": 0.2}
    first = {"first::prior::optimizer::lr": 0.3}
    told = {**settings, **own, **first}
    assert method.of_part("vqvae", told) == {"seed": 3, "vqvae::channels": [8], "optimizer::lr": 0.1}
    prior = {"seed": 3, "vqvae::channels": [8], "transformer::width": 16, "optimizer::lr": 0.2}
    assert method.of_part("prior", told) == prior
    assert method.of_part("prior", told, first=True) == {**prior, "optimizer::lr": 0.3}
    assert method.value(SCORING, "inferer::draws", told) == 2
    assert method.value(SCORING, "transformer::depth", told) == 4  # the component's own


@pytest.mark.parametrize(
    ("one", "near"),
    [
        ("inferer::drows", "settings::inferer::draws"),
        ("stages::prior::optimizer::Lr", "settings::stages::prior::optimizer::lr"),
        ("stages::priro::optimizer::lr", "settings::stages::prior"),
    ],
)
def test_a_setting_that_no_stage_takes_is_named(one, near):
    with pytest.raises(InputError, match=f"did you mean '{near}'"):
        read_method(BUNDLES, "iltm").require_known(one)


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
    with pytest.raises(InputError, match=r"no method 'dense_va' in .*.*dense_vae.*, iltm"):
        read_method(BUNDLES, "dense_va")


def test_the_settings_that_a_config_of_rounds_may_hold():
    content = {"bundle_root": str(BUNDLES / "iltm"), "method": "dense_vae"}
    require_known("network_def::latent", content)
    with pytest.raises(InputError, match="did you mean 'settings::network_def::latent'"):
        require_known("network_def::latend", content)

"""Overrides of `monai.bundle run`: known ids, values of their kind, texts that reach the config as they are."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest
from monai.bundle import ConfigParser

from monai_iltm.data.errors import InputError
from monai_iltm.engines.overrides import as_config, as_word, check_ids, check_names, check_overrides, load_configs

BUNDLES = Path(__file__).resolve().parents[2] / "bundles"
INFERENCE = ["--config_file", str(BUNDLES / "kde_inferer" / "configs" / "inference.json")]


@pytest.fixture
def configs(tmp_path) -> list[str]:
    content = [{"codes": 64, "epochs": 9, "train": {"trainer": {"max_epochs": 3}}}, {"+levels": [1.0]}]
    paths = [tmp_path / f"{index}.json" for index in range(2)]
    for path, part in zip(paths, content, strict=True):
        path.write_text(json.dumps(part))
    return [str(path) for path in paths]


def forms(configs: list[str]) -> list[list[str]]:
    """Every way to name two config files."""
    return [
        ["--config_file", str(configs)],
        ["--config_file", json.dumps(configs)],
        ["--config_file", ",".join(configs)],
        [f"--config_file={configs}"],
    ]


@pytest.mark.parametrize("form", range(4))
def test_known_ids_pass_in_every_form(configs, form):
    start = forms(configs)[form]
    known = ["--codes", "32", "--epochs=4", "--train::trainer::max_epochs", "1", "--train#trainer", "1"]
    monais = ["--logging_file", "False", "--meta_file", "x", "--run_id", "run"]
    check_overrides([*start, *known, "--levels", "[1.0]", *monais])


@pytest.mark.parametrize("form", range(4))
@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--code", "32"], "'code': did you mean 'codes'?"),
        (["--epoch=4"], "'epoch': did you mean 'epochs'?"),
        (["--trian::trainer::max_epochs", "1"], "'trian::trainer::max_epochs'$"),
        (["--codes", "32", "--zzz", "1"], "'zzz'$"),
    ],
)
def test_a_typo_is_named_with_the_nearest_id(configs, form, given, words):
    with pytest.raises(InputError, match=f"no setting is called {words}".replace("?", r"\?")):
        check_overrides([*forms(configs)[form], *given])


def test_one_file_in_two_forms(configs):
    for start in (["--config_file", configs[0]], [f"--config_file={configs[0]}"]):
        check_overrides([*start, "--codes", "3"])
        with pytest.raises(InputError, match="levels"):
            check_overrides([*start, "--levels", "3"])


def test_without_a_config_file_nothing_is_known_and_nothing_refused():
    check_overrides(["--anything", "1"])
    check_overrides([])


def test_names_are_checked_in_order():
    check_names([], ["a"])
    with pytest.raises(InputError, match="'alpa': did you mean 'alpha'"):
        check_names(["zeta", "alpa"], ["alpha", "threshold"])


# ---- ids of several parts ----


@pytest.fixture
def content() -> dict:
    mvtec = {"_target_": "monai_iltm.data.layouts.mvtec_cases", "_mode_": "callable", "contamination": 0.8}
    return {"layout": mvtec, "train": {"handlers": [{"name": "a"}]}, "seed": 0, "any": {"_target_": "dict"}}


@pytest.mark.parametrize("known", ["layout::contamination", "layout#overlap", "train::handlers::0::name", "seed"])
def test_a_part_may_be_held_or_taken_by_its_component(content, known):
    check_ids([known], content)


@pytest.mark.parametrize(
    ("unknown", "words"),
    [
        ("layout::contaminaton", "'layout::contaminaton': did you mean 'layout::contamination'?"),
        ("train::handlers::1", "'train::handlers::1': did you mean 'train::handlers::0'?"),
        ("layouts::contamination", "'layouts::contamination'$"),
    ],
)
def test_a_part_that_nothing_takes_is_named(content, unknown, words):
    with pytest.raises(InputError, match=f"no setting is called {words}".replace("?", r"\?")):
        check_ids([unknown], content)


# ---- values ----


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--images::resize", "false"], "images::resize is True or False, found 'false': .* --images::resize False"),
        (["--intensity_range", "None"], r"write --images::intensity_range '\$None'"),
        (["--skip_bad=off"], "skip_bad is True or False, found 'off'"),
        (["--images::size", "32"], "images::size is a list of whole numbers, found '32': .* --images::size"),
        (["--seed", "1e3"], "seed is a whole number .* found '1e3'"),
        (["--images::intensity_range", "[5,5]"], "images::intensity_range is two numbers, the lower one first"),
        (["--images::spacing", "None"], r"would be dropped without a word: write --images::spacing '\$None'"),
        (["--images::expected_range=None"], r"--images::expected_range '\$None'"),
        (["--dataset_dir", "2024"], "dataset_dir is a path, found '2024'"),
        (["--output_dir", "out #2"], r'output_dir \'out #2\' holds "#", .*"\$\'/.*out \\x232'),
        (["--images::size"], "images::size is a list of whole numbers, found True"),
        (["--image_size", "[32,32]"], r"image_size is called images::size here: write --images::size \[32,32\]"),
        (["--draws", "3"], "draws is called inferer::draws here: write --inferer::draws 3"),
        (["--num_codes", "3"], "num_codes is called vqvae::num_embeddings here: write --vqvae::num_embeddings 3"),
    ],
)
def test_a_word_that_is_no_value_of_its_setting_is_refused(given, words):
    with pytest.raises(InputError, match=words):
        check_overrides([*INFERENCE, *given])


@pytest.mark.parametrize(
    "given",
    [
        ["--images::resize", "True"],
        ["--images::resize"],
        ["--images::intensity_range", "$None"],
        ["--images::intensity_range", "median"],
        ["--dataset_dir", "/a/b c"],
        ["--inferer::alpha", "0.1", "--images::size", "[32,32]", "--amp", "$False"],
    ],
)
def test_a_word_that_is_one_passes(given):
    check_overrides([*INFERENCE, *given])


def test_a_folder_whose_name_would_be_run_as_code_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "$dir()").mkdir()
    with pytest.raises(InputError, match=r"would be run as code: write --dataset_dir \./\$dir"):
        check_overrides([*INFERENCE, "--dataset_dir", "$dir()"])
    check_overrides([*INFERENCE, "--dataset_dir", "$'/a/b'"])


def test_a_config_file_with_a_value_of_another_kind_is_refused(tmp_path):
    (tmp_path / "mine.json").write_text('{"inferer::draws": "many", "images::size": [8, 8]}')
    with pytest.raises(InputError, match="draws is a whole number of at least 1, found 'many'"):
        check_overrides(["--config_file", str([INFERENCE[1], str(tmp_path / "mine.json")])])
    (tmp_path / "mine.json").write_text('{"image_size": [8, 8]}')
    with pytest.raises(InputError, match=r"mine\.json: image_size is called images::size here"):
        check_overrides(["--config_file", str([INFERENCE[1], str(tmp_path / "mine.json")])])


def test_every_bundle_and_overlay_holds_values_of_their_kinds():
    for path in (*BUNDLES.glob("*/configs/*.json"), *(BUNDLES.parent / "configs").glob("*.json")):
        if path.name != "metadata.json":
            check_overrides(["--config_file", str(path)])


# ---- texts ----

TEXTS = [
    "/a/scans #2",
    "/a/o'brien",
    '/a/"x"',
    "$x",
    "@seed",
    "%x.json",
    "/a/import x",
    "001",
    "2024",
    "/a/\udcfc",
    "x",
]


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_reaches_the_config_as_it_is(text):
    parser = ConfigParser({"seed": 3, "value": ""})
    parser.update({"value": as_config(text)})
    assert parser.get_parsed_content("value") == text


@pytest.mark.parametrize("value", [*TEXTS, [1, 2], None, True, 0.5])
def test_a_value_survives_the_command_line(value):
    from fire.parser import DefaultParseValue

    assert DefaultParseValue(as_word(value)) == value


def test_other_values_stay():
    assert [as_config(value) for value in (3, None, [1], "plain")] == [3, None, [1], "plain"]


def test_files_with_apostrophes_are_found(tmp_path):
    path = tmp_path / "o'brien.json"
    path.write_text(json.dumps({"draws": 3}))
    check_overrides(["--config_file", repr([str(path)]), "--draws", "4"])
    assert ast.literal_eval(repr([str(path)])) == [str(path)]
    assert load_configs([path]) == {"draws": 3}

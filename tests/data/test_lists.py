from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from monai_iltm.data.cases import load_cases, read_datalist
from monai_iltm.data.documents import read_json, write_json
from monai_iltm.data.errors import InputError
from monai_iltm.data.images import write_image
from monai_iltm.data.lists import read_lists
from monai_iltm.data.prepare import image_limits, prepare
from monai_iltm.engines.begin import begin_run

ONE = {"case": "a", "image": "a.png"}


def picture(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 200, (8, 9), dtype=np.uint8)


@pytest.fixture
def data(tmp_path) -> Path:
    for index, name in enumerate("abc"):
        write_image(tmp_path / "data" / f"{name}.png", picture(index))
    return tmp_path / "data"


def put(data: Path, content: object) -> Path:
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    (data / "datalist.json").write_bytes(raw)
    return data


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"training": ["a"]}, r'training\[0\]: expected an object such as .*, found "a"'),
        ({"training": [ONE, None]}, r"training\[1\]: .* found null"),
        ({"training": [3]}, r"training\[0\]: .* found 3"),
        ({"training": [[ONE]]}, r"training\[0\]: .* found a list of 1"),
        ({"training": {"a": 1}, "testing": []}, '"training" must be a list of entries, found an object'),
        ({"training": None, "testing": []}, '"training" must be a list of entries, found null'),
        ({"training": 3, "testing": []}, '"training" must be a list of entries, found 3'),
        ({"training": [], "testing": "abc"}, '"testing" must be a list of entries, found "abc"'),
        ({"training": [{"case": "a", "image": ""}]}, r'training\[0\]: "image" is empty'),
        (
            {"training": [{"case": "a", "image": ["a.png", "b.png"]}]},
            '"image" must be the path of one file, found a li',
        ),
        ({"training": [{"case": "a", "image": None}]}, '"image" must be the path of one file, found null'),
        ({"training": [{"case": "a", "image": "x" * 5000}]}, '"image" has 5000 characters'),
        ({"training": [{"case": ["a"], "image": "a.png"}]}, '"case" must be a name, found a list of 1'),
        ({"training": [{"case": True, "image": "a.png"}]}, '"case" must be a name, found true'),
        ({"training": [{"case": None, "image": "a.png"}]}, '"case" must be a name, found null'),
        (b'{"training": [{"case": NaN, "image": "a.png"}]}', '"case" must be a name, found NaN'),
        ({"training": [{**ONE, "label": 1}]}, '"label" must be the path of one file, found 1'),
        ({"training": [{**ONE, "lock_normal": {}}]}, '"lock_normal" must be the path of one file, found an object'),
        ({"training": [{**ONE, "normal": "true"}]}, '"normal" must be true or false, found "true"'),
        ({"training": [{**ONE, "kind": []}]}, '"kind" must be a name'),
        ({"names": "a"}, "expected an object with lists"),
        ([ONE], "expected an object with lists .* found a list of 1"),
        (None, "expected an object with lists .* found null"),
        (b"[" * 100_000, "not a JSON file"),
        (b"{", "not a JSON file"),
        (b"", "not a JSON file"),
        (
            '{"training": [{"case": "Gr\u00f6\u00dfe", "image": "a.png"}]}'.encode("latin-1"),
            "line 1: byte 0xf6 .* UTF-8",
        ),
        (json.dumps({"training": [ONE]}).encode("utf-16-le"), "NUL characters"),
    ],
)
def test_a_list_of_another_shape_is_one_line(data, content, words):
    """For prepare, for a run and for a bundle alike."""
    put(data, content)
    for attempt in (prepare, load_cases, lambda folder: begin_run(folder.parent / "run", folder, {})):
        with pytest.raises(InputError, match=words) as caught:
            attempt(data)
        assert "\n" not in str(caught.value)
        assert "datalist.json" in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_encodings_that_say_what_they_are_are_read(tmp_path, encoding):
    (tmp_path / "x.json").write_text('{"a": "Größe"}', encoding=encoding)
    assert read_json(tmp_path / "x.json") == {"a": "Größe"}


def test_a_file_that_cannot_be_read_is_told(tmp_path):
    with pytest.raises(InputError, match=r"no.json: cannot be read"):
        read_json(tmp_path / "no.json")
    with pytest.raises(InputError, match="cannot be read"):
        read_json(tmp_path)


def test_numbers_are_ids_and_bare_paths_are_named_by_their_files(data):
    content = {
        "training": [{"case": 0, "image": "a.png"}, {"case": 7, "image": "b.png", "label": None}],
        "test": ["./sub/c.png"],
        "protocol": {"seed": 0},
    }
    assert read_datalist(put(data, content)) == {
        "training": [{"case": "0", "image": "a.png"}, {"case": "7", "image": "b.png"}],
        "testing": [{"case": "sub__c", "image": "./sub/c.png"}],
        "protocol": {"seed": 0},
    }


def test_an_entry_without_id_is_named_by_its_file(data):
    assert read_datalist(put(data, {"training": [{"image": "a.png"}, {"kind": "x"}]}))["training"] == [
        {"case": "a", "image": "a.png"},
        {"kind": "x"},
    ]
    assert [p.what for p in prepare(data).problems] == ["case without id", "case without an image"]


def test_an_alias_does_not_hide_the_list_itself(tmp_path):
    write_json(tmp_path / "x.json", {"testing": [ONE], "test": [{"case": "b", "image": "b.png"}]})
    assert read_lists(tmp_path / "x.json")["testing"] == [ONE]


# ---- paths that leave the folder ----


@pytest.mark.parametrize("key", ["image", "label", "lock_normal"])
def test_a_path_that_leaves_the_folder_needs_a_flag(data, key):
    write_image(data.parent / "other.png", picture(9) > 100)
    (data / "sub").mkdir()
    for path in ("../other.png", str(data.parent / "other.png"), "sub/../../other.png"):
        entries = [{"case": "a", "image": "a.png"} | {key: path}, {"case": "b", "image": "b.png"}]
        put(data, {"training": entries})
        (problem,) = prepare(data).problems
        assert (problem.case, problem.what) == ("a", "file outside the data folder")
        assert "allow_outside" in problem.found
        with pytest.raises(InputError, match="file outside the data folder"):
            begin_run(data.parent / "run", data, {})
        assert prepare(data, outside=True).problems == []
    assert image_limits((8, 8), 4, allow_outside=True)["outside"]


def test_whole_paths_and_links_inside_the_folder_are_inside(data):
    write_image(data.parent / "elsewhere" / "far.png", picture(5))
    (data / "linked").symlink_to(data.parent / "elsewhere")
    entries = [{"case": "a", "image": str(data / "a.png")}, {"case": "b", "image": "linked/far.png"}]
    assert prepare(put(data, {"training": entries})).problems == []
    (data.parent / "way").symlink_to(data)
    assert len(load_cases(data.parent / "way", datalist=data / "datalist.json")) == 2


def test_the_masks_of_a_run_lie_outside_by_nature(data):
    write_image(data.parent / "round/masks/a.png", picture() > 100)
    write_json(data.parent / "round/datalist.json", {"training": [{**ONE, "mask": "masks/a.png"}]})
    assert len(load_cases(data, datalist=data.parent / "round/datalist.json")) == 1

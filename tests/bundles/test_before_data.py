"""A bundle can be looked at before its data, and its weights, are there; what is missing is told when it runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from monai.bundle import BundleWorkflow, create_workflow

from monai_iltm.data.errors import InputError
from monai_iltm.engines.telling import plain_line

LOCK = ".monai_iltm.lock"


def line_of(workflow: BundleWorkflow) -> str | None:
    """What a person reads when it is run."""
    with pytest.raises((InputError, RuntimeError)) as caught:
        workflow.run()
    return plain_line(caught.value)


@pytest.mark.filterwarnings("ignore:parsing config_file:UserWarning")
@pytest.mark.parametrize("kind", ["train", "inference"])
def test_properties_can_be_checked_and_read(bundle, kind, tmp_path, monkeypatch):
    """As the model zoo checks them: no folder of images, no weights, and nothing is made but the output folder."""
    config = bundle / "configs" / f"{kind}.json"
    if not config.is_file():
        pytest.skip(f"{bundle.name} has no {kind}.json")
    monkeypatch.chdir(tmp_path)
    told = {"meta_file": str(bundle / "configs" / "metadata.json"), "logging_file": False}
    workflow = create_workflow(
        config_file=str(config), workflow_type=kind, bundle_root=str(bundle), output_dir=str(tmp_path / "out"), **told
    )
    assert workflow.check_properties() == []
    read = {name: getattr(workflow, name) for name in workflow.properties}
    assert read["network_def"] is not None
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file() and path.name != LOCK] == []
    assert line_of(workflow) == "error: data: folder not found"


@pytest.mark.filterwarnings("ignore:parsing config_file:UserWarning")
def test_weights_that_are_missing_are_told_when_it_runs(tiny, tmp_path):
    bundle = Path(__file__).resolve().parents[2] / "bundles" / "kde_inferer"
    workflow = create_workflow(
        config_file=str(bundle / "configs" / "inference.json"),
        workflow_type="inference",
        logging_file=False,
        meta_file=str(bundle / "configs" / "metadata.json"),
        bundle_root=str(tmp_path),
        output_dir=str(tmp_path / "out"),
        dataset_dir=tiny["dataset_dir"],
    )
    assert line_of(workflow) == f"error: {tmp_path}/models/model.pt: weight file not found"

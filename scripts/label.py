"""A run's bundle in MONAI Label: an environment of its own, the app, the server, and a check of its answers.

python scripts/label.py environment LABEL       # once: minutes, a gigabyte and a half
python scripts/label.py app RUN LABEL           # LABEL/app with RUN/bundle in it
python scripts/label.py serve STUDIES LABEL     # for viewers on this machine, until Ctrl-C
python scripts/label.py check DATA RUN LABEL    # a volume is answered as the command line does, a bad one refused
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fire
import numpy as np

from monai_iltm.data.documents import read_json
from monai_iltm.data.errors import InputError
from monai_iltm.data.images import read_image, stem, write_image
from monai_iltm.engines.telling import tell_plainly
from monai_iltm.store import ResultFolder, RunFolder

HERE = Path(__file__).resolve().parent
MODEL = "iltm"  # what viewers see in their list
PATIENCE = 300  # seconds that a server may take to start
# MONAI Label imports these two names of torchvision, for which a CPU's torch has no build, and uses neither here.
STAND_IN = "def make_grid(*a, **k):\n    raise NotImplementedError\n\n\nsave_image = make_grid\n"


def environment(label: str) -> None:
    """Make LABEL/env: MONAI Label with its pins, torch of this project's constraints, and this package as a wheel."""
    folder, python = Path(label), _python(label)
    torch = next(line for line in (HERE.parent / "constraints.txt").read_text().splitlines() if line[:7] == "torch==")
    subprocess.run([sys.executable, "-m", "venv", str(folder / "env")], check=True)
    for words in (
        [torch],  # first and alone: a resolver would take another build
        ["--no-deps", "-r", str(HERE / "label_requirements.txt")],
        ["--no-deps", str(HERE.parent)],
    ):
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *words], check=True)
    stub = folder / "stand_in" / "torchvision"
    stub.mkdir(parents=True, exist_ok=True)
    (stub / "__init__.py").write_text('__version__ = "0"\n')
    (stub / "utils.py").write_text(STAND_IN)
    print(python)


def app(run: str, label: str) -> Path:
    """Make LABEL/app: MONAI Label's app for bundles, this package's words in its answers, and the run's bundle."""
    bundle, folder = RunFolder(Path(run)).bundle, Path(label) / "app"
    if not (bundle / "models" / "model.pt").is_file():
        raise InputError(f"{bundle}: no bundle with weights; the run is not finished")
    original = next(Path(label, "env").resolve().glob("**/sample-apps/monaibundle"), None)
    if original is None:
        raise InputError(f"{label}/env: no MONAI Label; python scripts/label.py environment {label} puts it there")
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(original, folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "main.py").rename(folder / "bundle_app.py")
    shutil.copy(HERE / "label_app.py", folder / "main.py")
    shutil.copytree(bundle, folder / "model" / MODEL)
    return folder


def serve(studies: str, label: str, port: int = 8000) -> None:
    """Start the server on 127.0.0.1, until Ctrl-C."""
    subprocess.run(**_server(studies, label, port), check=False)


def check(data: str, run: str, label: str, port: int = 8765) -> None:
    """Start the server on a test image of a run, on one a thousand times too bright and on one that is too large.

    Raises InputError unless the first is answered by the run's own mask, voxel for voxel, the others by a message, and
    a batch of all three is finished.
    """
    app(run, label)
    studies = Path(label) / "studies"
    shutil.rmtree(studies, ignore_errors=True)
    good, mask = _test_case(Path(data), RunFolder(Path(run)))
    file = read_image(good)
    shutil.copy(good, studies.mkdir() or studies / f"good{good.name[len(stem(good)) :]}")
    write_image(studies / "bright.nii.gz", 1000 * file.array.astype(np.float32), like=file)
    write_image(studies / "large.nii.gz", np.tile(file.array, (4,) * file.array.ndim), file.affine)
    with _running(studies, label, port) as url:
        answer = studies.with_name("answer.nii.gz")
        answer.write_bytes(_post(f"{url}/infer/{MODEL}?image=good&output=image", b"params={}"))
        apart = np.count_nonzero((read_image(answer).array > 0) != (read_image(mask).array > 0))
        if apart:
            raise InputError(f"{answer}: {apart} voxels differ from {mask}")
        print(f"good: the mask of the command line, {np.count_nonzero(read_image(mask).array)} voxels")
        for name, words in (("bright", "out of range"), ("large", "larger than image_size")):
            told = _refusal(f"{url}/infer/{MODEL}?image={name}&output=image")
            if words not in told:
                raise InputError(f"{name}: expected a message with {words!r}, found {told!r}")
            print(f"{name}: {told}")
        body = json.dumps({"device": "cpu", "multi_gpu": False, "max_workers": 1}).encode()
        _post(f"{url}/batch/infer/{MODEL}?images=all&run_sync=true", body, "application/json")
        if not list((studies / "labels" / "original").glob("good*")):
            raise InputError("the batch ended without the label of the good image")
        print("batch: goes on beside images that are refused")


def _test_case(data: Path, run: RunFolder) -> tuple[Path, Path]:
    """A test image and the mask that the command line gave it."""
    case = read_json(run.datalist)["testing"][0]
    return data / case["image"], ResultFolder(run.rounds()[-1].test).require(case["case"], "mask")


def _python(label: str) -> Path:
    return Path(label).absolute() / "env" / "bin" / "python"


def _server(studies: Any, label: str, port: int) -> dict[str, Any]:
    """Words and surroundings of the server's command, which calls whatever python comes first on PATH."""
    folder, binaries = Path(label).absolute(), _python(label).parent
    words = ["--app", folder / "app", "--studies", Path(studies).absolute(), "--host", "127.0.0.1", "--port", port]
    conf = {"models": MODEL, "zoo_source": "local", "sam2": "false"}
    words += [word for pair in conf.items() for word in ("--conf", *pair)]
    surroundings = {"PATH": f"{binaries}:{os.environ['PATH']}", "PYTHONPATH": str(folder / "stand_in")}
    command = [str(binaries / "monailabel"), "start_server", *map(str, words)]
    return {"args": command, "env": {**os.environ, **surroundings, "MLFLOW_DISABLE_TELEMETRY": "true"}, "cwd": folder}


@contextmanager
def _running(studies: Path, label: str, port: int) -> Iterator[str]:
    url, log = f"http://127.0.0.1:{port}", Path(label) / "server.log"
    with log.open("wb") as stream:
        server = subprocess.Popen(**_server(studies, label, port), stdout=stream, stderr=subprocess.STDOUT)
    try:
        began = time.monotonic()
        while not _answers(f"{url}/info/"):
            if server.poll() is not None or time.monotonic() - began > PATIENCE:
                raise InputError(f"the server did not start, see {log}")
            time.sleep(1)
        yield url
    finally:
        server.terminate()
        server.wait()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=10):
            return True
    except OSError:
        return False


def _post(url: str, body: bytes, kind: str = "application/x-www-form-urlencoded") -> bytes:
    request = urllib.request.Request(url, body, {"Content-Type": kind}, method="POST")
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        return answer.read()


def _refusal(url: str) -> str:
    """What the server says of an image that it refuses; "" where it takes it."""
    try:
        _post(url, b"params={}")
    except urllib.error.HTTPError as error:
        return error.read().decode(errors="replace")
    return ""


if __name__ == "__main__":
    tell_plainly()
    fire.Fire({"environment": environment, "app": app, "serve": serve, "check": check})

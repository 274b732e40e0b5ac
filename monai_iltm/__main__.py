"""`python -m monai_iltm VERB`: short ways to the bundles and to what a person wants to know of data and runs.

What takes seconds to import is imported by the verb that needs it, once its words have been looked at.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fire
from fire.decorators import SetParseFn

from monai_iltm import __version__
from monai_iltm import report as pages
from monai_iltm.command import arguments, chosen, decided, defaults, read_given, shown_command
from monai_iltm.data.documents import write_json
from monai_iltm.data.errors import InputError, shown
from monai_iltm.data.truth import TRUTH_RULE
from monai_iltm.engines.names import full_id
from monai_iltm.engines.overrides import check_names
from monai_iltm.engines.settings import kind_like
from monai_iltm.engines.telling import tell_plainly

if TYPE_CHECKING:
    from monai_iltm.data.prepare import Prepared


@SetParseFn(str)
def run(preset: str, data: str, out: str, *overlays: str, processes: Any = 1, **settings: Any) -> None:
    """All rounds on a folder of images: `run --preset phantom2d --data DIR --out RUN [--prior_epochs 30 ...]`.

    Prints the bundle command that does the same. The same command goes on with a run that was stopped.

    Args:
        preset: name of a file in configs/, or a path to one.
        data: folder of images; out: run folder.
        overlays: further JSON files or names in configs/, laid over the preset in order.
        processes: of this machine that share the work (torchrun): one a GPU, or one a core of the CPU.
        settings: values by id, as in the bundle's train.json and those of its stages, or by short name; where one
            rules another out (mask_share and mask_density, alpha and the thresholds), the other is taken back.
    """
    count = read_given("processes", processes)
    files, given = chosen([preset, *overlays], settings, count)
    configs = defaults().parent
    folders = {"bundle_root": str(configs.parent), "dataset_dir": data, "output_dir": out}
    values = {**{name: str(Path(path).absolute()) for name, path in folders.items()}, **given}
    print(shown_command(files, values, count), flush=True)
    if count > 1:
        from monai_iltm.distributed import torchrun

        torchrun(count, "monai.bundle", "run", "--config_file", *arguments(files, values))
        return
    from monai.bundle import run as run_bundle

    meta, logging = (str(configs / name) for name in ("metadata.json", "logging.conf"))
    run_bundle(config_file=[str(path) for path in files], meta_file=meta, logging_file=logging, **decided(values))


@SetParseFn(str)
def prepare(
    folder: str, preset: str | None = None, out: str | None = None, renew: Any = False, **settings: Any
) -> None:
    """Count a folder's cases and report everything that is wrong with them in one table; exit code 1 if anything is.

    Args:
        folder: of images; preset: whose layout, size and intensity range they are held to.
        out: where the datalist is written, if nothing is wrong; by default into the folder, where a datalist.json is
            used as it is.
        renew: make the datalist anew from the folder's files.
        settings: values by id, as `run` takes them.
    """
    names = [preset] if preset else []
    files, given = chosen(names, settings)
    from monai.bundle import ConfigParser

    from monai_iltm.data.layouts import renewed_cases
    from monai_iltm.data.prepare import prepare as prepare_folder
    from monai_iltm.data.problems import format_problems

    layout, limits, truth = None, {}, {}
    if preset is not None or given:
        parser = ConfigParser(ConfigParser.load_config_files([str(path) for path in files]))
        parser.update({"bundle_root": str(defaults().parents[1]), **decided(given)})
        layout = parser.get_parsed_content("layout")
        limits = parser.get_parsed_content("limits")
        truth = {name: parser.get_parsed_content(full_id(name)) for name in TRUTH_RULE}
    if read_given("renew", renew):
        layout = renewed_cases
    prepared = prepare_folder(folder, layout, truth, **limits)
    for note in prepared.notes:
        print(note)
    print(format_problems(prepared.problems) if prepared.problems else "no problems found")
    counts = ", ".join(f"{len(part)} {name}" for name, part in prepared.datalist.items() if isinstance(part, list))
    print(f"{counts}; {_keep(prepared, Path(out or Path(folder) / 'datalist.json'), read_given('renew', renew))}")
    if prepared.problems:
        sys.exit(1)


def _keep(prepared: Prepared, target: Path, renew: bool) -> str:
    """Write the datalist, unless something is wrong with it or it lies there already; say which."""
    if prepared.problems:
        return f"{shown(target)} {'stays as it is' if target.is_file() else 'is not written'}"
    if target.is_file() and not renew:
        return f"{shown(target)} is there, and stays"
    from monai_iltm.engines.door import require_writable

    require_writable(target.parent)
    write_json(target, prepared.datalist)
    return f"{shown(target)} written"


@SetParseFn(str)
def status(run: str) -> None:
    """How far a run is, its rounds so far, and what the same command would do next."""
    print(pages.status(run))


@SetParseFn(str)
def report(run: str) -> None:
    """Write report.html of a run, finished or not, and print its path."""
    print(pages.write_report(run))


@SetParseFn(str)
def phantom(kind: str, folder: str, **parameters: Any) -> None:
    """Write a phantom: `phantom 2d DIR` or `phantom 3d DIR`, parameters as in docs/phantoms.md."""
    from monai_iltm.data.phantom2d import write_phantom2d
    from monai_iltm.data.phantom3d import write_phantom3d

    writers: dict[str, Callable[..., Path]] = {"2d": write_phantom2d, "3d": write_phantom3d}
    if kind not in writers:
        raise InputError(f"a phantom is {' or '.join(writers)}, found {shown(kind)}")
    known = signature(writers[kind]).parameters
    check_names(parameters, [name for name in known if name != "folder"])
    values = {name: read_given(name, word, kind_like(known[name].default)) for name, word in parameters.items()}
    print(writers[kind](folder, **values))


def main() -> None:
    """The door: mistakes are told in one line."""
    tell_plainly()
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # letters that a terminal has not
    if sys.argv[1:] == ["--version"]:
        print(__version__)
        return
    verbs = {"run": run, "prepare": prepare, "status": status, "report": report, "phantom": phantom}
    try:
        fire.Fire(verbs)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever reads, such as `head`, has read enough: nothing is written at the end either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


if __name__ == "__main__":
    main()

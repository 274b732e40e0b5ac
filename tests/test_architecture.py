"""The house rules that a reader of imports can hold: who may know whom, how long a file is, what is banned."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]
PACKAGE = "monai_iltm"
MAX_LINES, MAX_FUNCTION_LINES = 250, 50

GROUND = {"ending", "distributed"}  # what every room above the mathematics may stand on
BESIDE = GROUND | {"ops", "data", "transforms", "metrics", "store"}  # below engines, without knowing a network
BELOW_ENGINES = BESIDE | {"networks", "losses", "inferers"}
MAY_KNOW = {
    "ending": set(),
    "distributed": {"ending"},
    "ops": set(),
    "networks": {"ops"},
    "losses": GROUND | {"ops", "networks"},
    "inferers": {"ops", "networks"},
    **{room: BESIDE for room in ("data", "transforms", "metrics", "store")},
    "engines": BELOW_ENGINES | {"handlers"},
    "handlers": BELOW_ENGINES | {"engines", "report"},  # a handler writes the report after a round
    "report": {"data", "metrics", "store"},  # reads run folders, computes nothing of the method
    "resources": {"data"},  # where the bundles lie
    "command": {"data", "engines", "resources"},  # what a preset and its settings stand for
    "__main__": BELOW_ENGINES | {"command", "engines", "handlers", "report", "resources"},
    "__init__": set(),
}
OUTSIDE = {"ops": {"torch", "numpy", "numba"}, "networks": {"torch", "monai"}}  # the other rooms may take any
UNSAFE_MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
UNSAFE_CALLS = {"eval", "exec", "os.system", "os.popen"}

Rule = Callable[[Path], Iterator[str]]


def sources(project: Path) -> Iterator[tuple[Path, str, ast.Module]]:
    """Every file of the package: its path in the project, its room, its syntax tree."""
    for path in sorted((project / PACKAGE).rglob("*.py")):
        inside = path.relative_to(project / PACKAGE)
        yield path.relative_to(project), inside.parts[0].removesuffix(".py"), ast.parse(path.read_text())


def imported(path: Path, tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and full dotted name of every import, wherever it stands; `from a import b` gives a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = path.parts[: -node.level] if node.level else ()
            base = ".".join([*package, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def known_rooms(project: Path) -> Iterator[tuple[Path, int, str, str]]:
    """File, line, its room and the room it imports; names of the package itself (`__version__`) are no room."""
    for path, room, tree in sources(project):
        for line, name in imported(path, tree):
            parts = name.split(".")
            if parts[0] == PACKAGE and len(parts) > 1 and parts[1] != "__version__":
                yield path, line, room, parts[1]


def every_room_has_a_rule(project: Path) -> Iterator[str]:
    for path, room, _ in sources(project):
        if room not in MAY_KNOW:
            yield f"{path}: the room {room} has no rule"


def imports_point_down(project: Path) -> Iterator[str]:
    for path, line, room, other in known_rooms(project):
        if other != room and other not in MAY_KNOW.get(room, ()):
            yield f"{path}:{line}: {room} must not know {other}"


def mathematics_stays_pure(project: Path) -> Iterator[str]:
    for path, room, tree in sources(project):
        for line, name in imported(path, tree) if room in OUTSIDE else ():
            top = name.split(".")[0]
            if top not in OUTSIDE[room] | {PACKAGE} | sys.stdlib_module_names:
                yield f"{path}:{line}: {room} must not import {top}"


def no_circles(project: Path) -> Iterator[str]:
    graph: dict[str, set[str]] = {}
    for _, _, room, other in known_rooms(project):
        if other != room:
            graph.setdefault(room, set()).add(other)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        yield "circle: " + " -> ".join(reversed(error.args[1]))


def no_circles_of_files(project: Path) -> Iterator[str]:
    """Imports that are for types alone count too: who needs the other's name needs the other."""
    trees = {path: tree for path, _, tree in sources(project)}
    graph: dict[Path, set[Path]] = {path: set() for path in trees}
    for path, tree in trees.items():
        for _, name in imported(path, tree):
            if (other := file_of(project, name)) not in (None, path):
                graph[path].add(other)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        yield "circle: " + " -> ".join(str(path) for path in reversed(error.args[1]))


def file_of(project: Path, name: str) -> Path | None:
    """The file that defines a dotted name of the package, or whose package does; None for names of others."""
    parts = name.split(".")
    while parts and parts[0] == PACKAGE:
        for path in (Path(*parts).with_suffix(".py"), Path(*parts, "__init__.py")):
            if (project / path).is_file():
                return path
        parts.pop()
    return None


def functions_are_short(project: Path) -> Iterator[str]:
    for path, _, tree in sources(project):
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > MAX_FUNCTION_LINES:
                    yield f"{path}:{node.lineno}: {node.name} has {lines} lines, at most {MAX_FUNCTION_LINES}"


def files_are_short(project: Path) -> Iterator[str]:
    for path, _, _ in sources(project):
        lines = len((project / path).read_text().splitlines())
        if lines > MAX_LINES:
            yield f"{path}: {lines} lines, at most {MAX_LINES}"


def scripts_are_no_package(project: Path) -> Iterator[str]:
    """A package named scripts would hide the scripts of a bundle."""
    for path in sorted((project / "scripts").rglob("__init__.py")):
        yield f"{path.relative_to(project)}: scripts must not be a package"


def no_name_twice(project: Path) -> Iterator[str]:
    """A package that exports what bears a submodule's name: whoever asks for the path finds one today, one tomorrow.

    Where what is exported is the submodule itself, there is one thing, and one name.
    """
    for path, _, tree in sources(project):
        if path.name == "__init__.py":
            package = ".".join(path.parent.parts)
            for name, origin in sorted(exported(path, tree)):
                if is_module(project / path.parent / name) and origin != f"{package}.{name}":
                    yield f"{path}: {name} is the name of a submodule too"


def exported(path: Path, tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Every name that a file binds at its top, and where it comes from; what it defines comes from nowhere."""
    for node in tree.body:
        if isinstance(node, ast.ImportFrom):
            origins = [name for _, name in imported(path, ast.Module([node], []))]
            yield from ((alias.asname or alias.name, name) for alias, name in zip(node.names, origins, strict=True))
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name, ""
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from ((target.id, "") for target in targets if isinstance(target, ast.Name))


def is_module(path: Path) -> bool:
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def nothing_unsafe(project: Path) -> Iterator[str]:
    for path, _, tree in sources(project):
        for line, name in imported(path, tree):
            if name.split(".")[0] in UNSAFE_MODULES or name == "torch.load":
                yield f"{path}:{line}: import of {name}"
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and (what := unsafe_call(node)):
                yield f"{path}:{node.lineno}: {what}"


def unsafe_call(call: ast.Call) -> str | None:
    name = ast.unparse(call.func)
    given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
    if name in UNSAFE_CALLS:
        return f"{name}()"
    if given.get("shell", "False") != "False":
        return "shell=True"
    if given.get("allow_pickle", "False") != "False":
        return "allow_pickle=True"
    if name == "torch.load" and given.get("weights_only") != "True":
        return "torch.load without weights_only=True"
    return None


RULES: list[Rule] = [
    every_room_has_a_rule,
    imports_point_down,
    mathematics_stays_pure,
    no_circles,
    no_circles_of_files,
    functions_are_short,
    files_are_short,
    scripts_are_no_package,
    no_name_twice,
    nothing_unsafe,
]
BREACHES = [
    (every_room_has_a_rule, "monai_iltm/utils.py", "", "utils has no rule"),
    (imports_point_down, "monai_iltm/ops/a.py", "from monai_iltm.networks import b", "ops must not know networks"),
    (imports_point_down, "monai_iltm/ops/a.py", "from monai_iltm import store", "ops must not know store"),
    (imports_point_down, "monai_iltm/networks/a.py", "from ..inferers.kde import b", "networks must not know inferers"),
    (imports_point_down, "monai_iltm/inferers/a.py", "import monai_iltm.engines", "inferers must not know engines"),
    (imports_point_down, "monai_iltm/data/a.py", "from monai_iltm.networks import b", "data must not know networks"),
    (imports_point_down, "monai_iltm/transforms/a.py", "from .. import handlers", "transforms must not know handlers"),
    (imports_point_down, "monai_iltm/metrics/a.py", "from ..engines import b", "metrics must not know engines"),
    (
        imports_point_down,
        "monai_iltm/store.py",
        "def f():\n    from .inferers import b",
        "store must not know inferers",
    ),
    (imports_point_down, "monai_iltm/engines/a.py", "from monai_iltm.report import b", "engines must not know report"),
    (imports_point_down, "monai_iltm/handlers/a.py", "from .. import __main__", "handlers must not know __main__"),
    (imports_point_down, "monai_iltm/__init__.py", "from .ops import a", "__init__ must not know ops"),
    (mathematics_stays_pure, "monai_iltm/ops/a.py", "import monai", "ops must not import monai"),
    (mathematics_stays_pure, "monai_iltm/networks/a.py", "from scipy import b", "networks must not import scipy"),
    (no_circles, "monai_iltm/data/a.py", "import monai_iltm.store", "circle: "),
    (no_circles_of_files, "monai_iltm/ops/tokens.py", "from .good import a", "circle: "),
    (no_circles_of_files, "monai_iltm/ops/tokens.py", "if TYPE_CHECKING:\n    from . import good", "circle: "),
    (functions_are_short, "monai_iltm/ops/a.py", "def f():" + "\n    1" * 50, "f has 51 lines"),
    (files_are_short, "monai_iltm/ops/a.py", "\n" * 251, "251 lines"),
    (scripts_are_no_package, "scripts/__init__.py", "", "must not be a package"),
    (no_name_twice, "monai_iltm/ops/__init__.py", "from monai_iltm.ops.good import good", "good is the name of"),
    (no_name_twice, "monai_iltm/ops/__init__.py", "from .good import fine as good", "good is the name of"),
    (no_name_twice, "monai_iltm/ops/__init__.py", "def good():\n    pass", "good is the name of"),
    (no_name_twice, "monai_iltm/ops/__init__.py", "good: int = 3", "good is the name of"),
    (no_name_twice, "monai_iltm/__init__.py", "store = None", "store is the name of"),
    (no_name_twice, "monai_iltm/__init__.py", "ops = None", "ops is the name of"),
    (nothing_unsafe, "monai_iltm/data/a.py", "import pickle", "import of pickle"),
    (nothing_unsafe, "monai_iltm/data/a.py", "from torch import load", "import of torch.load"),
    (nothing_unsafe, "monai_iltm/data/a.py", "eval('1')", "eval()"),
    (nothing_unsafe, "monai_iltm/data/a.py", "run('ls', shell=True)", "shell=True"),
    (nothing_unsafe, "monai_iltm/data/a.py", "np.load(p, allow_pickle=True)", "allow_pickle=True"),
    (nothing_unsafe, "monai_iltm/data/a.py", "torch.load(p)", "torch.load without"),
    (nothing_unsafe, "monai_iltm/data/a.py", "torch.load(p, weights_only=False)", "torch.load without"),
]
GOOD = {
    "scripts/demo.py": "",
    "monai_iltm/__init__.py": "__version__ = '0'",
    "monai_iltm/ops/__init__.py": "from . import good\nfrom .good import pack",
    "monai_iltm/ops/good.py": "import math\nimport torch.nn.functional as F\nfrom .tokens import pack",
    "monai_iltm/ops/tokens.py": "",
    "monai_iltm/networks/good.py": "from monai.networks import b\nfrom monai_iltm.ops.good import c",
    "monai_iltm/store.py": "from monai_iltm import __version__\nfrom monai_iltm.data.documents import write_json",
    "monai_iltm/engines/good.py": "from ..handlers.good import b\nnet.eval()\ntorch.load(p, weights_only=True)"
    + "\n" * 248,
}


def plant(project: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return project


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_house_keeps(rule):
    assert list(rule(PROJECT)) == []


@pytest.mark.parametrize(("rule", "path", "text", "words"), BREACHES)
def test_a_planted_breach_is_found(tmp_path, rule, path, text, words):
    (found,) = rule(plant(tmp_path, GOOD | {path: text}))
    assert words in found
    assert words.startswith("circle") or found.startswith(path)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_a_good_house_passes(tmp_path, rule):
    assert list(rule(plant(tmp_path, GOOD))) == []

"""The house rules of docs/architecture.md that import-linter cannot check."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from . import source_rules

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "critbatch"
SOURCES = sorted(PACKAGE.rglob("*.py"))
HEAVY = ("torch", "ray", "lightning", "transformers", "keras", "altair", "sqlalchemy", "sklearn", "polars")
# A plural folder beside the file of its interface: budgets/ and budget.py.
FOLDERS = sorted(path for path in PACKAGE.iterdir() if path.is_dir() and (PACKAGE / f"{path.name[:-1]}.py").exists())

Rule = Callable[[str, str], Iterator[str]]


def violations(rule: Rule, paths: list[Path], root: Path) -> list[str]:
    return [problem for path in paths for problem in rule(path.relative_to(root).as_posix(), path.read_text("utf-8"))]


def tracked_files() -> list[Path]:
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [path for name in listed.split("\0") if name and (path := ROOT / name).is_file()]


def run_python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=ROOT)


@pytest.mark.parametrize("rule", [source_rules.names, source_rules.lengths, source_rules.absolute_imports])
def test_every_file_of_the_package_keeps(rule):
    assert violations(rule, SOURCES, PACKAGE) == []


@pytest.mark.parametrize("rule", [source_rules.names, source_rules.lengths])
def test_every_test_file_keeps(rule):
    assert violations(rule, sorted((ROOT / "tests").rglob("*.py")), ROOT) == []


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_implementations_are_final_have_one_base_and_are_strangers_to_each_other(folder):
    interface = folder.name[:-1].title().replace("_", "")
    paths = [path for path in sorted(folder.rglob("*.py")) if path.name != "__init__.py"]
    assert paths, f"{folder.name}/ is empty"

    def final(path: str, text: str) -> Iterator[str]:
        return source_rules.implementation(path, text, interface)

    for rule in (final, source_rules.siblings):
        assert violations(rule, paths, PACKAGE) == []


def test_implementations_do_not_ask_objects_what_they_are():
    folders = [*FOLDERS, *(PACKAGE / name for name in ("datasets", "models"))]
    assert (
        violations(source_rules.peeking, [path for folder in folders for path in folder.rglob("*.py")], PACKAGE) == []
    )


def test_no_file_names_a_machine_or_a_package_index():
    texts = [path for path in tracked_files() if b"\0" not in path.read_bytes()[:8000]]
    assert len(texts) > 20
    assert violations(source_rules.machine_settings, texts, ROOT) == []


BAD = {
    source_rules.names: [("utils.py", ""), ("x/helpers.py", ""), ("x.py", "class RunManager: ..."), ("_core.py", "")],
    source_rules.lengths: [("x.py", "\n" * 401), ("x.py", "def f():\n    '''Doc.'''\n" + "    x = 1\n" * 51)],
    source_rules.absolute_imports: [("x.py", "import critbatch.plan"), ("x.py", "from critbatch import plan")],
    source_rules.siblings: [
        ("budgets/a.py", "from .b import B"),
        ("budgets/a.py", "from . import b"),
        ("budgets/a.py", "from ..budgets.b import B"),
        ("stores/sql/rows.py", "from ..memory import Memory"),
    ],
    source_rules.peeking: [
        ("x.py", "hasattr(a, 'b')"),
        ("x.py", "getattr(a, 'b')"),
        ("x.py", "class A(B):\n    def __init__(self):\n        super().__init__()"),
        ("x.py", "class A(nn.Module):\n    def forward(self, x):\n        return getattr(x, 'y')"),
    ],
    source_rules.machine_settings: [
        ("x", "open('" + "/ro" + "ot/data')"),
        ("x", "/wo" + "rk/shared"),
        ("x", "pip install --extra-ind" + "ex-url https://somewhere"),
        ("x", "PIP_FIND_" + "LINKS=wheels"),
    ],
}
GOOD = {
    source_rules.names: [("budget.py", "class Budget: ..."), ("x.py", "class Factoring: ...")],
    source_rules.lengths: [
        ("x.py", "\n" * 400),
        ("x.py", "def f():\n    '''Doc.\n" + "\n" * 60 + "    '''\n    return 1"),
    ],
    source_rules.absolute_imports: [("x.py", "from ..plan import Run\nimport torch")],
    source_rules.siblings: [
        ("budgets/a.py", "from ..budget import Budget\nfrom .. import plan"),
        ("stores/sql/rows.py", "from .schema import TABLES\nfrom ...record import Record"),
    ],
    source_rules.peeking: [("x.py", "class A(nn.Module):\n    def __init__(self):\n        super().__init__()")],
    source_rules.machine_settings: [("x", "see https://example.org/work/home and ./work/x and index of urls")],
}


@pytest.mark.parametrize(("rule", "path", "text"), [(rule, *case) for rule, cases in BAD.items() for case in cases])
def test_the_rule_catches(rule, path, text):
    assert list(rule(path, text))


@pytest.mark.parametrize(("rule", "path", "text"), [(rule, *case) for rule, cases in GOOD.items() for case in cases])
def test_the_rule_lets_pass(rule, path, text):
    assert list(rule(path, text)) == []


@pytest.mark.parametrize(
    "text",
    [
        "class Epochs(Budget): ...",
        "@final\nclass Epochs: ...",
        "@final\nclass Epochs(Budget, Sized): ...",
        "@final\nclass Epochs(Steps): ...",
    ],
)
def test_an_implementation_that_is_open_or_has_other_bases_is_caught(text):
    assert list(source_rules.implementation("budgets/epochs.py", text, "Budget"))
    assert list(source_rules.implementation("budgets/epochs.py", "@final\nclass Epochs(Budget): ...", "Budget")) == []


LOADED = "import sys; print(sorted(set(sys.modules) & set({heavy!r})))"


def loaded_by(code: str) -> str:
    finished = run_python(code + "\n" + LOADED.format(heavy=HEAVY))
    assert finished.returncode == 0, finished.stderr
    return finished.stdout.strip().splitlines()[-1]


def test_importing_critbatch_loads_nothing_heavy():
    assert loaded_by("import critbatch") == "[]"


@pytest.mark.skipif(not (PACKAGE / "__main__.py").exists(), reason="there is no command line yet")
def test_asking_for_help_does_not_load_torch():
    code = "import sys; sys.argv = ['critbatch', '--help']\nfrom critbatch.__main__ import main\n"
    code += "try: main()\nexcept SystemExit as end: assert not end.code, end.code"
    assert loaded_by(code) == "[]"


def test_loading_something_heavy_would_be_seen():
    assert loaded_by("import polars") == "['polars']"


WATCHED = """
import os, sys
def watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo"):
        print("NETWORK", arguments)
    place = os.path.abspath(arguments[0]) if event == "open" and isinstance(arguments[0], str) else ""
    if place.startswith(data) or "sklearn/datasets/data" in place or place.endswith((".npz", ".csv", ".parquet")):
        print("DATA", place)
data = os.environ.get("CRITBATCH_DATA", "no data here")
sys.addaudithook(watch)
"""
IMPORT_ALL = """
import importlib, pkgutil, critbatch
for found in pkgutil.walk_packages(critbatch.__path__, "critbatch."):
    try:
        importlib.import_module(found.name)
    except ImportError as error:
        assert "critbatch[" in str(error) or "KERAS_BACKEND" in str(error), error  # an extra that is not installed
"""


@pytest.mark.parametrize(
    ("code", "seen"),
    [
        (IMPORT_ALL, ""),
        ("from sklearn.datasets import load_iris; load_iris()", "DATA"),
        ("import socket; socket.socket(type=socket.SOCK_DGRAM).connect(('192.0.2.1', 9))", "NETWORK"),
    ],
    ids=["importing every module does neither", "reading data is seen", "connecting is seen"],
)
def test_what_touches_data_or_network(code, seen):
    finished = run_python(WATCHED + code)
    if not seen:
        assert finished.returncode == 0, finished.stderr
        assert finished.stdout == ""
    assert re.match(seen, finished.stdout), finished.stderr

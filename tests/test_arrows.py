"""The arrows between modules: what pyproject.toml forbids really fails, and what no contract can say.

Each contract is shown to hold by breaking it: in a copy of the package one forbidden import is added, as a plain
statement, under TYPE_CHECKING and inside a function.
"""

import ast
import graphlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[1]
CONTRACTS = {
    contract["id"]: contract
    for contract in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
}
LAYERS = [key for key, contract in CONTRACTS.items() if contract["type"] == "layers"]
STATEMENTS = {
    "plain": "import {}\n",
    "TYPE_CHECKING": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import {}\n",
    "inside a function": "def turned() -> None:\n    import {}\n",
}
MOST_LINES = 400
FOUND = ("llmdbg.frontends.tui.panes", "llmdbg.debugger.commands")
"""Packages that import each of their files by its name."""
HIDDEN = {
    "llmdbg/__init__.py": "the public API, which loads nothing before it is used",
    "llmdbg/debugger/commands/__init__.py": "the commands, of which a new file is found by itself",
    "llmdbg/frontends/tui/panes/__init__.py": "the panes, each of which is one file",
    "llmdbg/frontends/tui/pages/__init__.py": "the pages, each of which is one file",
    "llmdbg/frontends/answers/described_types.py": "what an answer's own module imports for type checkers",
    "llmdbg/models/loading_bars.py": "a module of transformers",
}
"""The imports by a name that no contract sees, and what they are for."""


@pytest.fixture
def checkout(tmp_path):
    """A copy of what import-linter reads."""
    shutil.copytree(ROOT / "llmdbg", tmp_path / "llmdbg", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def graph():
    return grimp.build_graph("llmdbg", cache_dir=None)


def lint(folder, *contracts):
    """The exit code of lint-imports in `folder`, and what it says of each contract: KEPT or BROKEN."""
    only = [word for contract in contracts for word in ("--contract", contract)]
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()", "--no-cache", *only],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    names = {contract["name"]: key for key, contract in CONTRACTS.items()}
    said = re.findall(r"^(.+?) (KEPT|BROKEN)", done.stdout, re.MULTILINE)
    return done.returncode, {names[name]: verdict for name, verdict in said}


def file_of(folder, module):
    path = folder.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def modules_of(contract, layer):
    """The modules of one layer, of a contract with one container."""
    [container] = contract["containers"]
    return [f"{container}.{name.strip(' ()')}" for name in re.split(r"[|:]", contract["layers"][layer])]


def forbidden_import(contract, graph):
    """An import that a contract forbids: who imports what."""
    if contract["type"] == "layers":
        return modules_of(contract, -1)[0], modules_of(contract, 0)[0]
    if contract["type"] == "acyclic_siblings":
        # The other way round, between the first two modules of one folder of which one imports the other.
        leaves = sorted(module for module in graph.modules if not graph.find_children(module))
        for module in leaves:
            for imported in sorted(graph.find_modules_directly_imported_by(module)):
                if imported in leaves and imported.rpartition(".")[0] == module.rpartition(".")[0]:
                    return imported, module
    if contract["type"] == "protected":
        return "llmdbg.frontends.batch.run", contract["protected_modules"][0]
    return f"{contract['source_modules'][0]}.models", contract["forbidden_modules"][0]


def test_every_contract_is_kept(checkout):
    assert lint(checkout) == (0, dict.fromkeys(CONTRACTS, "KEPT"))


@pytest.mark.parametrize("statement", STATEMENTS)
@pytest.mark.parametrize("key", CONTRACTS)
def test_an_arrow_turned_round_breaks_the_contract(checkout, graph, key, statement):
    importer, imported = forbidden_import(CONTRACTS[key], graph)
    with file_of(checkout, importer).open("a") as file:
        file.write("\n" + STATEMENTS[statement].format(imported))
    assert lint(checkout, key) == (1, {key: "BROKEN"}), f"{importer} -> {imported}"


@pytest.mark.parametrize("key", LAYERS)
def test_a_module_without_a_place_breaks_the_contract(checkout, key):
    for container in CONTRACTS[key]["containers"]:
        (checkout.joinpath(*container.split(".")) / "without_a_place.py").touch()
    code, _ = lint(checkout, key)
    assert code == 1


def test_no_other_import_is_by_a_name_that_no_contract_sees():
    hidden = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "llmdbg").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).rpartition(".")[2] in ("import_module", "__import__")
        and not (isinstance(node.args[0], ast.Constant) and not str(node.args[0].value).startswith("llmdbg"))
    }
    assert hidden == set(HIDDEN)


def test_no_module_imports_itself_by_any_way_round(graph):
    """Packages included, which the contract about siblings leaves out, and the files that a package looks for."""
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    for package in FOUND:
        imports[package] |= graph.find_children(package)
    try:
        graphlib.TopologicalSorter(imports).prepare()
    except graphlib.CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


@pytest.mark.parametrize("folder", ["llmdbg", "tests", "benchmarks", "screenshots"])
def test_no_file_is_too_long_to_be_read_at_once(folder):
    lengths = {path: len(path.read_text().splitlines()) for path in (ROOT / folder).rglob("*.py")}
    assert {str(path.relative_to(ROOT)): length for path, length in lengths.items() if length > MOST_LINES} == {}

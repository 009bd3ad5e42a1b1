"""The distribution as a user gets it: built, installed into an environment without the checkout, and run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from collections.abc import Mapping
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import llmdbg
from llmdbg.models import demo

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# What a build writes beside the sources, and what is not a source file.
LEFT_OUT = (".*", "*.egg-info", "build", "dist", "__pycache__")


def run(*command: str | Path, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> str:
    """What a command prints on stdout; the test fails with its stderr where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and the wheel built from it."""
    sources = tmp_path_factory.mktemp("sources") / "checkout"
    shutil.copytree(ROOT, sources, ignore=shutil.ignore_patterns(*LEFT_OUT))
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, sources)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    return next(built.glob("*.whl"))


@pytest.fixture(scope="module")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of an environment that has the wheel, and its dependencies from where this one has them.

    A folder named in a .pth file is searched, but the .pth files in it are not obeyed: an editable install of the
    checkout stays unknown there.
    """
    folder = tmp_path_factory.mktemp("bare") / "environment"
    venv.create(folder, with_pip=False, symlinks=True)
    programs = folder / "bin"
    [site_packages] = (folder / "lib").glob("python*/site-packages")
    needed = [Requirement(each).name for each in PROJECT["dependencies"]]
    homes = {str(distribution(name).locate_file("")) for name in needed}
    if (model := demo.demo_file()) is not None:
        homes.add(str(model.parents[1]))
    (site_packages / "dependencies.pth").write_text("".join(f"{home}\n" for home in sorted(homes)))
    pip = (sys.executable, "-m", "pip", "--python", programs / "python", "--disable-pip-version-check")
    run(*pip, "install", "--quiet", "--no-deps", "--no-index", "--force-reinstall", wheel)
    return programs


def environment() -> dict[str, str]:
    """This process's, without what leads Python to the checkout."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def test_the_sdist_holds_the_sources_and_the_tests(built):
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "CHANGELOG.md",
        "SECURITY.md",
        "constraints.txt",
        "Makefile",
    } <= names
    assert {"llmdbg/cli.py", "tests/test_wheel.py", "tests/__init__.py", "screenshots/make.py", "docs/ssh.md"} <= names


def test_the_wheel_holds_every_file_of_the_package_and_nothing_else(wheel):
    sources = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "llmdbg").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {"llmdbg/py.typed", "llmdbg/frontends/tui/style.tcss"} <= sources
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert held == sources


def test_the_wheel_is_named_and_versioned_as_it_should_be(wheel):
    name = PROJECT["name"].replace("-", "_")
    assert wheel.name == f"{name}-{llmdbg.__version__}-py3-none-any.whl"


def test_the_checkout_is_not_what_runs_there(bare, tmp_path):
    where = run(bare / "python", "-c", "import llmdbg; print(llmdbg.__file__)", cwd=tmp_path, env=environment())
    assert Path(where.strip()).is_relative_to(bare.parent)


def test_the_installed_command_runs_the_demo(bare, tmp_path):
    if demo.demo_file() is None:
        pytest.skip(f"the demo model is not installed: {demo.INSTALL}")
    command = (bare / "llmdbg", "smollm2", "-p", "Once upon a time", "-n", "2", "--greedy", "--batch")
    lines = run(*command, cwd=tmp_path, env=environment()).splitlines()
    assert [line.split()[:4] for line in lines if " chose " in line] == [
        ["token", "0", "prefill", "sample"],
        ["token", "1", "decode", "sample"],
    ]
    assert lines[-1] == ", the"

"""README as a package index shows it, where no address may depend on the page; and the files that documents name."""

import re
import tomllib
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from llmdbg.frontends import pictures

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
REPOSITORY = PROJECT["urls"]["Repository"]
PAGES = f"{REPOSITORY}/blob/main/"
FILES = REPOSITORY.replace("github.com", "raw.githubusercontent.com") + "/main/"


def addresses(kind: str, attribute: str) -> list[str]:
    """What README's `image` or `link_open` tokens point at."""
    tokens = MarkdownIt().parse((ROOT / "README.md").read_text())
    inside = [token for block in tokens for token in block.children or ()]
    return [str(token.attrs[attribute]) for token in inside if token.type == kind]


SOURCES = [
    f"/{path.relative_to(ROOT).as_posix()}"
    for folder in ("llmdbg", "tests", "benchmarks", "screenshots")
    for path in (ROOT / folder).rglob("*.py")
]
IMAGES, LINKS = addresses("image", "src"), addresses("link_open", "href")


def test_there_are_pictures_and_links():
    assert len(IMAGES) >= 3
    assert len(LINKS) >= 3


@pytest.mark.parametrize("address", IMAGES)
def test_a_picture_is_a_file_of_the_repository(address):
    assert address.startswith(FILES)
    assert (ROOT / address.removeprefix(FILES)).is_file()


@pytest.mark.parametrize("address", LINKS)
def test_a_link_into_the_repository_leads_to_a_file(address):
    assert address.startswith("https://")
    if address.startswith(REPOSITORY):
        assert address.startswith(PAGES)
        assert (ROOT / address.removeprefix(PAGES)).is_file()


def test_the_name_to_install_is_the_distributions():
    """Everywhere: `pip install llmdbg` would get another program."""
    text = (ROOT / "README.md").read_text()
    assert f"pip install {PROJECT['name']} " in text
    assert text.count("pip install llmdbg") == 1, "only the warning names it"
    assert f"pip install '{PROJECT['name']}[pictures]'" == pictures.INSTALL
    assert pictures.INSTALL in text
    assert "pictures" in PROJECT["optional-dependencies"]


@pytest.mark.parametrize(
    "document",
    [
        "CONTRIBUTING.md",
        "README.md",
        "SECURITY.md",
        "docs/architecture.md",
        "docs/ssh.md",
        "docs/trace-format.md",
        "docs/comparing.md",
        "docs/agents.md",
    ],
)
def test_a_source_file_that_is_named_is_there(document):
    """By the end of its path: `inspection/topics.py` is one file, wherever that folder stands."""
    named = re.findall(r"`((?:[\w.]+/)+\w+\.py)`", (ROOT / document).read_text())
    missing = [name for name in named if not any(path.endswith(f"/{name}") for path in SOURCES)]
    assert missing == []


def test_every_line_of_the_security_page_names_a_test_that_is_there():
    text = (ROOT / "SECURITY.md").read_text()
    lines = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith(("| ---", "| from"))]
    assert len(lines) > 15
    for line in lines:
        named = re.findall(r"`([\w/]+\.py)::(\w+)`", line)
        assert named, line
        for path, name in named:
            assert re.search(rf"\n(async )?def {name}\(", (ROOT / "tests" / path).read_text()), f"{path}::{name}"


def test_the_classifiers_name_the_versions_of_python_that_are_required():
    prefix = "Programming Language :: Python :: 3."
    named = sorted(int(each.removeprefix(prefix)) for each in PROJECT["classifiers"] if each.startswith(prefix))
    oldest = int(PROJECT["requires-python"].removeprefix(">=3."))
    assert named == list(range(oldest, oldest + len(named)))
    assert len(named) > 1


def test_whatever_makes_a_new_type_of_answer_is_told_to_register_its_writer():
    """A command and a question do: an answer without a writer ends in a TypeError."""
    ways = re.split(r"\n\n(?=\*\*)", (ROOT / "CONTRIBUTING.md").read_text())
    told = [way.split("**")[1] for way in ways if way.startswith("**") and "`frontends/answers/writers.py`" in way]
    assert told == ["A command.", "A question (`info …`)."]

"""`make fuzz` runs all of the fuzzing, and installs what only that needs."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")
def test_make_fuzz_runs_the_binary_readers_too() -> None:
    said = subprocess.run(
        ["make", "-n", "fuzz", "FUZZ=7", "READS=9"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    readers = re.search(r"^READERS = \{(.*)\}$", (ROOT / "tests/fuzz/binary_readers.py").read_text(), re.MULTILINE)
    assert readers is not None
    for name in re.findall(r'"(\w+)":', readers[1]):
        assert re.search(rf"-m tests\.fuzz\.binary_readers {name} -runs=9$", said, re.MULTILINE), name
    assert re.search(r"LLMDBG_FUZZ=7 .*pytest .*tests/fuzz", said)
    assert ".[dev,fuzz]" in said
    assert re.search(r"^atheris==", (ROOT / "constraints.txt").read_text(), re.MULTILINE)


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")
def test_no_other_target_installs_a_fuzzer() -> None:
    said = subprocess.run(
        ["make", "-n", "test", "coverage", "check"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert "fuzz]" not in said

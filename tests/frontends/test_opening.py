"""What a start is told: which Python is meant."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from llmdbg.errors import UsageError
from llmdbg.frontends.opening import found_python


def test_which_python_is_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path, a name, or an environment's folder, whose link to another Python is not followed."""
    link = tmp_path / "bin" / "python"
    link.parent.mkdir()
    link.symlink_to(sys.executable)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(link.parent))
    assert {found_python(each) for each in (str(link), str(tmp_path), "python", "bin/python", ".")} == {str(link)}
    for wrong in ("", "no-such-python", str(tmp_path / "bin"), str(Path(__file__))):
        with pytest.raises(UsageError, match="--python takes"):
            found_python(wrong)

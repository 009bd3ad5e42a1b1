"""What a user's own program may rely on."""

import subprocess
import sys

import pytest

import llmdbg


def test_the_exported_names():
    assert sorted(llmdbg.__all__) == [
        "Answer",
        "Comparison",
        "End",
        "LlmdbgError",
        "Moved",
        "Outcome",
        "Quit",
        "Recorder",
        "Session",
        "Stop",
        "__version__",
        "attach",
        "breakpoint",
        "compare",
        "debug",
        "open_session",
    ]
    for name in llmdbg.__all__:
        assert getattr(llmdbg, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Engine'"):
        _ = llmdbg.Engine


def test_importing_it_imports_nothing_heavy():
    code = "import sys, llmdbg; sys.exit('torch' in sys.modules or 'textual' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_session_from_python(tiny_folder):
    session = llmdbg.open_session(str(tiny_folder), "The quick brown fox", max_new_tokens=6, greedy=True)
    session.do("break 1 if token >= 2")
    outcome = session.do("continue")
    assert isinstance(outcome, llmdbg.Moved)
    assert (outcome.stop.stage.address, outcome.stop.token) == ("1", 2)
    assert isinstance(session.do("info breakpoints"), llmdbg.Answer)
    with pytest.raises(llmdbg.LlmdbgError, match="nearest"):
        session.do("brake 3")
    session.close()

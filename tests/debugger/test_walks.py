"""The walk of a condition, as docs/architecture.md lists it, beside what really runs."""

import re
import sys
from pathlib import Path
from types import FrameType

import llmdbg
from llmdbg.debugger.breakpoints import metrics
from llmdbg.debugger.breakpoints.conditions import Condition
from tests.sessions import do, tiny_session

PACKAGE = Path(llmdbg.__file__).parent
PAGE = (PACKAGE.parent / "docs" / "architecture.md").read_text()
LISTED = PAGE.partition("**A condition, from its text")[2].partition("\n## ")[0]
WALK = re.findall(r"^\d+\. `([\w/]+\.py)`", LISTED, re.MULTILINE)
HOOK = "engine/stops.py"


def entered(work):
    """The files of llmdbg whose functions are called meanwhile, in the order of the first call."""
    files: dict[str, None] = {}

    def note(frame, event, _):
        path = Path(frame.f_code.co_filename)
        if event == "call" and path.is_relative_to(PACKAGE):
            files.setdefault(path.relative_to(PACKAGE).as_posix())

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return list(files)


def up_to_the_hook():
    """The files of llmdbg in whose functions the caller runs, from the inside out, up to the hook."""
    frame: FrameType | None = sys._getframe(2)
    files: list[str] = []
    while frame is not None and files[-1:] != [HOOK]:
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(PACKAGE):
            files.append(path.relative_to(PACKAGE).as_posix())
        frame = frame.f_back
    return files


def test_the_walk_of_a_condition_names_what_it_runs_through(monkeypatch):
    session, decided = tiny_session(max_new_tokens=2), []

    def watch(owner, name):
        original = getattr(owner, name)

        def watched(*given, **named):
            decided.append(up_to_the_hook())
            return original(*given, **named)

        monkeypatch.setattr(owner, name, watched)

    set_it = entered(lambda: do(session, "break 1 if norm > 0"))
    assert [name for name in set_it if name in WALK[:6]] == WALK[:6]
    watch(Condition, "holds")
    watch(metrics, "measure")
    do(session, "continue")
    assert session.stop.stage.address == "1"
    assert len(decided) == 2
    assert all(files[-1] == HOOK for files in decided)
    assert {name for files in decided for name in files} == set(WALK[5:])
    assert len(WALK) == len(set(WALK)) == 9
    session.close()

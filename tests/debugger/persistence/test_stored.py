"""A session written by an earlier llmdbg, kept in `format_6/`, is read, comes back and is written the same."""

from pathlib import Path

from llmdbg.debugger.persistence.format import from_json, to_json
from llmdbg.debugger.persistence.restore import restore
from llmdbg.models.spec import ModelSpec
from tests.sessions import tiny_session

FOLDER = Path(__file__).parent / "format_6"
DOCUMENT = (FOLDER / "session.json").read_text("utf-8")
PROMPT = (FOLDER / "prompt.txt").read_text("utf-8")


def test_every_field_is_read():
    saved = from_json(DOCUMENT, PROMPT)
    first, second, third, fourth = saved.branches
    assert saved.spec == ModelSpec("tiny", dtype="float32", device="cpu", attn="eager")
    assert (saved.settings.temperature, saved.settings.top_k, saved.settings.seed) == (1.1, 50, 4)
    assert (saved.owner.pid, saved.owner.host, saved.owner.started) == (4242, "laptop", 1795629600.25)
    assert (saved.system, saved.prompt, saved.open, saved.focus) == ("Be brief – täglich.", PROMPT, False, 3)
    assert [(each.number, each.kind, each.enabled) for each in saved.breakpoints] == [
        (1, "breakpoint", False),
        (2, "tracepoint", True),
        (3, "watch", False),
        (4, "breakpoint", True),
        (5, "breakpoint", True),
        (6, "breakpoint", False),
    ]
    assert (saved.breakpoints[0].condition, saved.breakpoints[0].commands) == (
        "norm > 1 and token >= 2",
        ("info stage", "step"),
    )
    assert saved.breakpoints[1].expressions == ("norm", "top1")
    assert (saved.breakpoints[3].ignore, saved.breakpoints[4].temporary) == (1, True)
    assert (first.parent, second.parent, third.parent, fourth.parent) == (None, 1, 2, 3)
    assert [(each.token, each.force, each.ban) for each in third.choices] == [(2, 50, ()), (3, None, (9,))]
    assert [each.settings.temperature for each in fourth.settings] == [1.1, 0.7]
    assert [(each.line, each.enabled, each.stages) for each in fourth.edits] == [
        ("zero 1.mlp", True, ()),
        ("scale 0 -2 at last", False, ()),
        ("edit out * 2", True, ("0",)),
    ]
    assert saved.layout == {"panes": ["lens", "values"], "zoom": None, "split": 0.5, "open": {"0": True}}


def test_it_is_written_as_it_was():
    assert to_json(from_json(DOCUMENT, PROMPT)) == DOCUMENT


def test_it_comes_back_to_where_it_stood():
    saved = from_json(DOCUMENT, PROMPT)
    session = tiny_session("llama", PROMPT, max_new_tokens=10, temperature=1.1, top_k=50, seed=4)
    # Another build of torch draws other weights and tokens, and says so.
    notes = [each for each in restore(session, saved) if "other tokens" not in each]
    assert len(notes) == 1 and "edit 3" in notes[0] and "is off: read it" in notes[0]
    assert (session.run.place.address, session.run.place.token) == ("1", 5)
    assert [(each.number, each.name) for each in session.run.branches] == [(1, "main"), (2, "b2"), (3, "b3"), (4, "b4")]
    assert session.run.branches.current.number == 4
    assert [each.number for each in session.run.edits.list()] == [1, 2, 3]
    assert [each.number for each in session.breakpoints.list()] == [1, 2, 3, 4, 5, 6]

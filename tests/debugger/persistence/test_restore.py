"""Branches, edits and conditions come back through a file, and nothing in a file runs."""

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmdbg.debugger.commands import COMMANDS
from llmdbg.debugger.commands.effect import Effect
from llmdbg.debugger.persistence.capture import capture
from llmdbg.debugger.persistence.format import from_json, to_json
from llmdbg.debugger.persistence.model import begin
from llmdbg.debugger.persistence.restore import restore
from llmdbg.engine.settings import GenerationSettings
from llmdbg.errors import CommandError, SessionFileError
from llmdbg.models.spec import ModelSpec
from tests.debugger.restoring import TEXT, fresh, known, through_a_file
from tests.debugger.saving import run

LIVES = [
    ["token 5", "force 50", "token 3", "switch main", "token 2"],
    ["token 4", "ban 3", "continue"],
    ["token 3", "set temperature 0.7", "token 2", "goto 1@1"],
    ["until 0@2", "zero 1.mlp", "token 3", "goto 0@4", "scale 0 -2 at last", "token 2"],
    ["until 0@2", "ablate 1 heads=1,2", "edits off 1"],
    ["token 2", "force 60", "token 2", "force 61", "zero 0.mlp", "switch 2", "until 1"],
    [
        "break 1 if norm > 1 and token >= 2",
        "trace 0 norm, top1",
        "watch top1 at 0-1",
        "break jump 3",
        "ignore 1 1",
        "c",
    ],
    ["break flip", "condition 1 token > 3", "break nonfinite if layer == 1", "break jump 2", "condition 3", "c"],
    ["tbreak 1@4", "commands 1 info stage; continue", "break surprise 0.5", "disable 2", "token 1"],
]


@pytest.mark.parametrize("lines", LIVES, ids=lambda lines: lines[1])
@pytest.mark.parametrize("how", [{}, {"temperature": 1.1, "seed": 4}], ids=["greedy", "sampled"])
def test_a_life_comes_back(lines, how):
    before = run(fresh(**how), *lines)
    after, notes = through_a_file(before, **how)
    assert notes == ()
    assert known(after) == known(before)
    for session in (before, after):
        run(session, "delete")
        for branch in [each.name for each in session.run.branches]:
            run(session, f"switch {branch}")
            if session.end is None:
                run(session, "continue")
    assert known(after) == known(before)
    assert after.debuggee.timeline.differing() == ()


@pytest.mark.parametrize("name", ["mistral", "gemma3", "mamba", "recurrent_gemma"])
def test_other_architectures_come_back_too(name):
    before = run(fresh(name), "token 8", "rt 3", "force 50", "token 2", "switch main")
    after, notes = through_a_file(before, name)
    assert notes == ()
    assert known(after) == known(before)


def test_the_users_own_python_sleeps_until_it_is_switched_on(tmp_path):
    trap = tmp_path / "trap"
    line = f"edit (__import__('pathlib').Path({str(trap)!r}).touch(), out * 2)[1]"
    before = run(fresh(), "until 0@2", line)
    assert trap.exists()
    trap.unlink()
    after, notes = through_a_file(before)
    assert not trap.exists()
    assert "is off: read it" in notes[0] and len(notes) == 1
    assert [(each.text, each.enabled) for each in after.run.edits.list()] == [(line, False)]
    run(after, "edits on 1")
    assert trap.exists()
    assert after.stop.tensor.numbers == before.stop.tensor.numbers


def test_a_graft_sleeps_until_it_is_switched_on_and_then_needs_the_other_run():
    """Nothing is loaded by opening a session; where the other run cannot be had, a line says so."""
    before = fresh()
    before.other_runs = lambda _text, _debuggee: fresh().debuggee
    run(before, "until 0@2", 'graft 0.mlp from "other --dtype float32"')
    after, notes = through_a_file(before)
    assert "is off: read it, then `edits on 1`" in notes[0] and len(notes) == 1
    line = 'patch 0.mlp from "other --dtype float32"'
    assert [(each.text, each.enabled) for each in after.run.edits.list()] == [(line, False)]
    with pytest.raises(CommandError, match="cannot open another run"):
        run(after, "edits on 1")
    assert [(each.text, each.enabled) for each in after.run.edits.list()] == [(line, False)]

    def gone(_text, _debuggee):
        raise CommandError("there is no model called other")

    after.other_runs = gone
    with pytest.raises(CommandError, match="no model called other"):
        run(after, "edits on 1")
    after.other_runs = before.other_runs
    run(after, "edits on 1")
    assert [each.text for each in after.run.edits.list()] == [line]
    assert after.run.edits.list()[0].enabled


def test_commands_that_run_python_are_off_until_the_user_switches_them_on(tmp_path):
    trap = tmp_path / "trap"
    line = f"print __import__('pathlib').Path({str(trap)!r}).touch()"
    before = run(fresh(), "break 1", f"commands 1 info stage; {line}; info edits")
    after, notes = through_a_file(before)
    assert "commands that run Python are off (`print __imp" in notes[0] and "`commands 1 on`" in notes[0]
    assert after.breakpoints.list() == (replace(before.breakpoints.list()[0], off=frozenset([line])),)
    assert [each for each, _ in COMMANDS.run_all(after, "c")] == ["c", "info stage", "info edits"]
    assert not trap.exists()
    # Nothing is lost by saving it again, and it is off again.
    again, _ = through_a_file(after)
    assert again.breakpoints.list()[0].off == {line}
    run(again, "commands 1 on")
    assert [each for each, _ in COMMANDS.run_all(again, "c")] == ["c", "info stage", line, "info edits"]
    assert trap.exists()


def test_a_list_of_commands_that_is_typed_again_is_on():
    after, _ = through_a_file(run(fresh(), "break 1", "commands 1 print 1"))
    run(after, "commands 1 print 1")
    assert after.breakpoints.list()[0].active_commands == ("print 1",)
    with pytest.raises(CommandError, match="no command of breakpoint 1 is off"):
        run(after, "commands 1 on")


def test_many_that_are_off_all_come_back_and_a_few_are_named():
    lines = [line for number in range(1, 31) for line in ("break 1", f"commands {number} print 1")]
    after, notes = through_a_file(run(fresh(), *lines))
    assert len(after.breakpoints.list()) == 30
    assert notes[20:] == ("10 more breakpoints with commands that are off: `info breakpoints` lists them",)
    edits = ["edit out * 2"] * 30
    after, notes = through_a_file(run(fresh(), "until 0@2", *edits))
    assert len(after.run.edits.list()) == 30 and len(notes) == 21


def test_only_an_effect_that_is_known_to_be_harmless_is_on():
    for each in Effect:
        inside = each in (Effect.READS, Effect.MOVES, Effect.CHANGES)
        assert (each.beyond_session() == ()) is inside
        assert (Effect.READS | each).beyond_session() == each.beyond_session()
    assert Effect(0).beyond_session()
    beyond = {command.name for command in COMMANDS if command.effect.beyond_session()}
    assert beyond == {"print", "edit", "edits", "commands", "source", "save", "record", "reference"}


def written(change):
    saved = capture(
        run(fresh(), "token 4", "force 50", "zero 0.mlp"),
        begin(ModelSpec("tiny"), TEXT, GenerationSettings(max_new_tokens=10, greedy=True)),
    )
    document = json.loads(to_json(saved))
    change(document)
    return json.dumps(document)


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d["branches"][1].update(parent=7),
        lambda d: d["branches"][1].update(parent=2),
        lambda d: d["branches"][1].update(number=1),
        lambda d: d["branches"][1].update(name="main"),
        lambda d: d["branches"][1].update(fork=99),
        lambda d: d["branches"][1].update(settings=[]),
        lambda d: d["branches"][1]["settings"][0]["settings"].update(temperature=-1),
        lambda d: d["branches"][1]["edits"][0].update(line="zero " + "x" * 5000),
        lambda d: d["branches"][1].update(surprise=True),
        lambda d: d["branches"][1].pop("why"),
        lambda d: d["branches"][1]["choices"][0].update(force="50"),
        lambda d: d.update(branches=d["branches"] * 600),
    ],
)
def test_a_damaged_file_says_where(change):
    with pytest.raises(SessionFileError) as error:
        from_json(written(change), TEXT)
    assert error.value.damaged


def test_what_a_stranger_wrote_is_left_out_and_said():
    def change(document):
        document["branches"][1]["choices"][0]["force"] = 10**9
        document["branches"][0]["edits"] = [
            {"number": 1, "line": "zero 77.mlp", "since": 0, "enabled": True, "stages": []},
            {"number": 2, "line": "fly away", "since": 0, "enabled": True, "stages": []},
        ]

    after = fresh()
    notes = restore(after, from_json(written(change), TEXT))
    assert any("does not have" in note for note in notes)
    assert any("zero 77.mlp" in note for note in notes)
    assert [each.name for each in after.run.branches] == ["main"]
    run(after, "token") if after.end is None else None


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 2**54) | st.floats(allow_nan=False) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_whatever_stands_in_a_field_nothing_but_a_clear_error_comes_of_it(data):
    def change(document):
        target = document
        for _ in range(data.draw(st.integers(1, 5))):
            keys = list(target) if isinstance(target, dict) else list(range(len(target)))
            if not keys:
                return
            key = data.draw(st.sampled_from(keys))
            if not isinstance(target[key], (dict, list)) or data.draw(st.booleans()):
                target[key] = data.draw(_JSON)
                return
            target = target[key]

    try:
        saved = from_json(_changed(change), TEXT)
    except SessionFileError:
        return
    assert from_json(to_json(saved), TEXT) == saved


_WRITTEN = written(lambda _: None)


def _changed(change):
    document = json.loads(_WRITTEN)
    change(document)
    return json.dumps(document)


def test_an_edit_of_python_is_not_switched_on_with_others():
    before = run(fresh(), "until 0@2", "edit out * 2", "edit out * 3")
    after, _ = through_a_file(before)
    with pytest.raises(CommandError, match="one by one"):
        run(after, "edits on")


def hostile(commands):
    """A session file of a stranger's whose breakpoints run commands."""

    def change(document):
        document["breakpoints"] = [
            {
                "number": number,
                "address": "1",
                "temporary": False,
                "enabled": True,
                "hits": 0,
                "kind": "breakpoint",
                "condition": None,
                "expressions": [],
                "ignore": 0,
                "commands": lines,
            }
            for number, lines in enumerate(commands, 1)
        ]
        document["branches"] = []
        document["branch"] = 1
        document["place"] = {"address": "tokenize", "token": 0}
        document["generated"] = []

    return from_json(written(change), TEXT)


@pytest.mark.parametrize(
    "lines",
    [
        [["commands 2 print __import__('pathlib').Path(TRAP).touch()"], []],
        [["commands 2 commands 1 print __import__('pathlib').Path(TRAP).touch()"], []],
        [["print __import__('pathlib').Path(TRAP).touch()"]],
        [["p __import__('pathlib').Path(TRAP).touch()"]],
        [["edit __import__('pathlib').Path(TRAP).touch()"]],
        [["edits on 1"]],
        [["source ~/.local/state/llmdbg/sessions/x/prompt.txt"]],
        [["commands 1 on", "print __import__('pathlib').Path(TRAP).touch()"]],
        [["commands 2 on"], ["print __import__('pathlib').Path(TRAP).touch()"]],
        [["info stage > TRAP"]],
        [["x 1 > TRAP"]],
        [["save tensor 1 TRAP.safetensors"]],
        [["info  stage  >  TRAP", "i st > TRAP", "sav tensor 1 TRAP"]],
    ],
)
def test_no_command_of_a_file_runs_code(tmp_path, lines):
    trap = tmp_path / "trap"
    asked = [[line.replace("TRAP", repr(str(trap))) for line in each] for each in lines]
    before = set(tmp_path.iterdir())
    session = fresh()
    notes = restore(session, hostile(asked))
    assert any("are off" in note for note in notes)
    for _ in range(4):
        list(COMMANDS.run_all(session, "continue"))
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("lines", "kept", "said"),
    [
        (["info stage", "step 2", "zero 0.mlp"], ("info stage", "step 2", "zero 0.mlp"), None),
        (["source look.txt", "info lens"], ("info lens",), "read a file or run Python"),
        (["sour look.txt"], (), "read a file or run Python"),
        (["save tensor 1 x.safetensors"], (), "write a file"),
        (["info lens > lens.csv", "x 1 > x.txt", "x 1"], ("x 1",), "write a file"),
        (["edits", "edits off 1"], (), "run Python"),
        (["fly", "until 1 if token > 2", "step many"], (), "make no sense"),
    ],
)
def test_commands_of_a_file_stay_inside_the_session(lines, kept, said):
    session = fresh()
    notes = restore(session, hostile([lines]))
    [point] = session.breakpoints.list()
    assert (point.commands, point.active_commands) == (tuple(lines), kept)
    off = [line for line in lines if line not in kept]
    assert len(notes) == (said is not None)
    for note in notes:
        assert f"its commands that {said} are off" in note
        assert all(f"`{line}`" in note for line in off)


def test_commands_that_go_round_in_circles_end():
    session = run(fresh(), "break 1", "commands 1 run")
    done = 0
    for _ in COMMANDS.run_all(session, "continue"):
        done += 1
        if done == 5:
            session.interrupt()
    assert done < 8


def test_an_edit_of_python_comes_back_where_it_was_made():
    before = run(fresh(), "token 2", "goto 1@1", "edit out*-3", "token", "token")
    after, _ = through_a_file(before)
    run(after, "edits on 1")
    assert (after.run.place.address, after.run.place.token) == ("1", 1)
    run(after, "token", "token")
    assert after.run.generated_ids() == before.run.generated_ids()

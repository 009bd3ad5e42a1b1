"""Breakpoints with conditions, tracepoints, watches and ready-made ones, on real forwards."""

from typing import Any

import pytest
import torch

from llmdbg.debugger.commands import COMMANDS
from llmdbg.engine.stage_event import main_tensor
from llmdbg.errors import CommandError, UsageError
from tests.sessions import do, here, tiny_session


def started(name="llama", text="The quick fox", **settings):
    return tiny_session(name, text, **{"max_new_tokens": 8, **settings})


def walked(name="llama", **settings):
    """The norm, the next token and its probability at every stage, worked out by plain PyTorch."""
    session, seen = started(name, **settings), []
    while session.end is None:
        do(session, "step")
        tensor = main_tensor(session.run.event.output)
        seen.append((here(session), float(tensor.to(torch.float32).square().sum().sqrt()), session.stop))
    return seen


def stops(session, line="continue"):
    found = []
    while session.end is None:
        stop = do(session, line).stop
        if stop.ended_by is None:
            found.append((here(session), stop.reason, stop.breakpoint, stop.values))
    return found


def places(found):
    return [each[0] for each in found]


@pytest.mark.parametrize("name", ["llama", "mistral", "gemma2", "gpt2", "mamba"])
def test_a_condition_stops_where_plain_arithmetic_says(name):
    norms = {place: norm for place, norm, _ in walked(name) if place.partition("@")[0] in ("0", "1")}
    middle = sorted(norms.values())[len(norms) // 2]
    session = started(name)
    do(session, f"break 0-1 if norm > {middle} and token >= 2")
    wanted = [place for place, norm in norms.items() if norm > middle and int(place.partition("@")[2]) >= 2]
    assert places(stops(session)) == wanted != []


def test_conditions_on_what_comes_next():
    seen = {place: stop for place, _, stop in walked(temperature=0.8, top_k=20)}
    unsure = [place for place, stop in seen.items() if place.startswith("logits") and stop.candidates.entropy > 2.0]
    session = started(temperature=0.8, top_k=20)
    do(session, "break logits if entropy > 2.0")
    assert places(stops(session)) == unsure


def test_rank_and_top1_inside_a_layer_are_the_lens():
    session = started()
    do(session, "token 3")
    text = session.debuggee.vocabulary.text(session.stop.chosen.id)
    do(session, f'break 1@2 if top1 == "{text}" and rank("{text}") == 1')
    do(session, "run")
    assert here(session) == "1@2"


def test_hit_and_ignore_counts_and_temporary_ones():
    session = started()
    do(session, "break 1")
    do(session, "ignore 1 2")
    do(session, "tbreak 0@5")
    assert places(stops(session)) == ["1@2", "1@3", "1@4", "0@5", "1@5", "1@6", "1@7"]
    assert [(each.number, each.hits) for each in session.breakpoints.list()] == [(1, 8)]


def test_a_condition_is_given_changed_and_taken_away():
    session = started()
    do(session, "break 1")
    do(session, "condition 1 token == 3")
    do(session, "continue")
    assert here(session) == "1@3"
    do(session, "condition 1")
    do(session, "continue")
    assert here(session) == "1@4"


def test_tracepoints_log_and_go_on():
    session = started()
    told: list[Any] = []
    session.run.on_trace = told.append
    do(session, "trace 0-1 norm, top1 if token > 5")
    do(session, "continue")
    assert session.end is not None
    norms = {place: norm for place, norm, _ in walked()}
    assert [(f"{stop.stage.address}@{stop.token}", stop.reason) for stop in told] == [
        ("0@6", "tracepoint"),
        ("1@6", "tracepoint"),
        ("0@7", "tracepoint"),
        ("1@7", "tracepoint"),
    ]
    for stop in told:
        values = dict(stop.values)
        assert values["norm"] == pytest.approx(norms[f"{stop.stage.address}@{stop.token}"])
        assert isinstance(values["top1"], str)


def test_a_watch_stops_where_a_prediction_flips():
    session = started()
    lens = session.run.metrics
    tops = {}
    while session.end is None:
        do(session, "step")
        if session.stop.stage.kind == "layer":
            tops[here(session)] = session.debuggee.vocabulary.text(int(lens.scores(session.run.event).argmax()))
    flips = [f"1@{token}" for token in range(8) if tops[f"0@{token}"] != tops[f"1@{token}"]]
    session = started()
    do(session, "watch top1 at 0-1")
    found = stops(session)
    assert places(found) == flips != []
    for place, reason, number, values in found:
        token = place.partition("@")[2]
        assert (reason, number) == ("watch", 1)
        assert dict(values) == {"before": tops[f"0@{token}"], "now": tops[f"1@{token}"]}


def test_a_watch_of_one_stage_compares_token_after_token_and_after_going_back():
    session = started()
    do(session, "watch top1 at logits")
    found = places(stops(session))
    do(session, "goto 0@4")
    assert places(stops(session)) == [place for place in found if int(place.partition("@")[2]) >= 4]


def test_the_first_nan_is_found():
    session = started()
    do(session, "token 3")
    down = session.inspector.model.model.layers[1].mlp.down_proj
    handle = down.register_forward_hook(lambda _module, _args, out: out.index_fill(-1, torch.tensor([3]), torch.nan))
    try:
        do(session, "break nonfinite")
        do(session, "continue")
    finally:
        handle.remove()
    assert (here(session), session.stop.tensor.numbers.nan) == ("1.mlp.down_proj@3", 1)


def test_a_token_that_a_processor_cut_is_not_non_finite_but_what_else_it_makes_is():
    session = started(temperature=0.9, top_k=3, max_new_tokens=3)
    do(session, "break nonfinite", "continue")
    assert session.end is not None
    session = started(temperature=0.9, top_k=3, max_new_tokens=3)
    do(session, "goto sample.temperature", "edit out[0, 5] = float('inf')", "break nonfinite", "next")
    assert (here(session), session.stop.breakpoint) == ("sample.top_k@0", 1)


def test_only_one_that_names_its_stages_marks_them():
    session = started()
    lines = ("break nonfinite", "break flip", "watch norm", "break surprise", "break 0-1", "watch norm at 0-1")
    do(session, *lines)
    marking = [point.target.text for point in session.breakpoints.list() if point.marks_stages]
    assert marking == ["surprise", "0-1", "0-1"]


def test_a_jump_of_the_norm():
    layers = [(place, norm) for place, norm, _ in walked() if place.partition("@")[0] in ("0", "1")]
    norms = dict(layers)
    ratios = {place: norm / norms["0" + place[1:]] for place, norm in layers if place.startswith("1@")}
    middle = sorted(ratios.values())[4] - 1e-6
    session = started()
    do(session, f"break jump {max(middle, 1.000001)}")
    assert places(stops(session)) == [place for place, ratio in ratios.items() if ratio >= max(middle, 1.000001)]


def test_a_surprising_token():
    seen = {place: stop for place, _, stop in walked(temperature=2.0, seed=3)}
    session = started(temperature=2.0, seed=3)
    do(session, "break surprise 0.02")
    found = stops(session)
    for place in [f"sample@{token}" for token in range(8)]:
        chosen = seen[place].chosen
        assert (place in places(found)) == (_raw_prob(place, chosen.id) < 0.02)


def _raw_prob(place, id):
    session = started(temperature=2.0, seed=3)
    do(session, f"until logits@{place.partition('@')[2]}")
    return float(torch.softmax(session.run.event.trail[0][1][0], -1)[id])


def test_going_back_asks_conditions_and_counts_nothing():
    session = started()
    do(session, "break 0-1 if token == 2 or token == 5")
    do(session, "trace 1")
    do(session, "goto logits@6")
    seen = []
    for _ in range(5):
        do(session, "reverse-continue")
        seen.append(here(session))
    assert seen == ["1@5", "0@5", "1@2", "0@2", "tokenize@0"]
    assert [each.hits for each in session.breakpoints.list()] == [0, 0]


def test_commands_run_when_it_stops():
    session = started()
    do(session, "break 1 if token < 3")
    do(session, "commands 1 info stage; continue")
    done = [(line, type(outcome).__name__) for line, outcome in COMMANDS.run_all(session, "continue")]
    assert done[:3] == [("continue", "Moved"), ("info stage", "Answer"), ("continue", "Moved")]
    assert session.end is not None
    assert len(done) == 1 + 3 * 2


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("break 1 if nrom > 1", "norm"),
        ("break 1 if", "expression is missing"),
        ("break sample if layer > 3", "never known"),
        ("break 1 if __import__('os')", "cannot be called"),
        ("break jump 0", "greater than 1"),
        ("break jump many", "number"),
        ("break surprise 7", "up to 1"),
        ("break nonfinite 3", "takes no argument"),
        ('break 1 if rank("no such token") == 1', "not a single token"),
        ("watch top1 at nowhere", "no stage"),
        ("trace 1 norm,, top1", "syntax error"),
        ("condition 9 norm > 1", "no breakpoint 9"),
        ("condition 1 norm >", "expression is incomplete"),
        ("ignore 1 many", "whole number"),
        ("commands 1 fly", "no command"),
    ],
)
def test_what_cannot_be_says_why_and_changes_nothing(line, said):
    session = started()
    do(session, "break 0")
    before = session.breakpoints.list()
    with pytest.raises(UsageError, match=said):
        do(session, line)
    assert session.breakpoints.list() == before


def test_nothing_is_predicted_before_a_model_has_run():
    session = started()
    with pytest.raises(CommandError, match="no model has run"):
        do(session, "break tokenize if entropy > 1")


def test_breakpoints_in_one_phase():
    session = started()
    do(session, "break 1@prefill")
    do(session, "break 0@decode if token < 3")
    assert places(stops(session)) == ["1@0", "0@1", "0@2"]
    do(session, "goto 1@decode")
    assert here(session) == "1@7"
    do(session, "goto 1@prefill")
    assert here(session) == "1@0"
    do(session, "until 1@decode")
    assert here(session) == "0@1"
    with pytest.raises(CommandError, match="leave out the phase"):
        do(session, "zero 1@decode")


def test_a_breakpoint_at_the_last_token_is_told_with_the_end():
    session = started()
    do(session, "break sample")
    do(session, "commands 1 info stage")
    done: list[tuple[str, Any]] = []
    while session.end is None:
        done += COMMANDS.run_all(session, "continue")
    assert (session.stop.reason, session.stop.breakpoint) == ("end", 1)
    assert [line for line, _ in done] == ["continue", "info stage"] * 8
    do(session, "rc")
    assert here(session) == "sample@6"


def test_a_nan_that_stays_a_nan_has_not_changed():
    session = started()
    do(session, "step 3")
    do(session, 'edit out * float("nan")')
    do(session, "watch norm")
    found = stops(session)
    assert len(found) <= 1


def test_what_compares_knows_the_stage_it_was_set_at():
    session = started()
    do(session, "break flip")
    found = places(stops(session))
    assert found
    token = found[0].partition("@")[2]
    other = started()
    do(other, f"goto 0@{token}")
    do(other, "break flip")
    assert places(stops(other))[0] == found[0]


def test_a_condition_of_a_ready_made_one_narrows_it():
    session = started()
    do(session, "break flip")
    flips = places(stops(session))
    late = [place for place in flips if int(place.partition("@")[2]) > 3]
    assert flips != late != []
    for lines in (["break flip if token > 3"], ["break flip", "condition 1 token > 3"]):
        session = started()
        for line in lines:
            do(session, line)
        assert places(stops(session)) == late
        do(session, "run")
        do(session, "goto tokenize")
        do(session, "condition 1")
        assert places(stops(session)) == flips


def logged(session):
    """What tracepoints log until the end: each place, and the values."""
    told: list[Any] = []
    session.run.on_trace = told.append
    while session.end is None:
        do(session, "continue")
    return [(f"{each.stage.address}@{each.token}", [value for _, value in each.values]) for each in told]


@pytest.mark.parametrize("set_it", [["trace 1 if changed(norm)"], ["trace 1", "condition 1 changed(norm)"]])
def test_a_tracepoint_that_compares_knows_the_stage_it_was_set_at(set_it):
    session = started()
    do(session, "until 1@2")
    for line in set_it:
        do(session, line)
    assert [place for place, _ in logged(session)] == [f"1@{token}" for token in range(3, 8)]


def test_what_a_tracepoint_logs_may_compare():
    session = started()
    do(session, "trace 0-1 changed(norm), changed(token)")
    assert logged(session) == [
        entry for token in range(8) for entry in ((f"0@{token}", [None, None]), (f"1@{token}", [True, False]))
    ]


def test_another_condition_does_not_compare_with_what_the_one_before_saw():
    session = started()
    do(session, "break 1 if changed(norm)")
    do(session, "goto sample@2")
    do(session, "condition 1 changed(mean)")
    assert places(stops(session))[0] == "1@4"


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("break 1 if norm > 3", "<Breakpoint 1 at 1 if norm > 3, hit 0 times>"),
        ("tbreak 0-1", "<Breakpoint 1 at 0-1 (2 stages), once, hit 0 times>"),
        ("break jump 2", "<Breakpoint 1 at jump 2 (2 stages), hit 0 times>"),
        ("break nonfinite if token > 1", "<Breakpoint 1 at nonfinite (32 stages) if token > 1, hit 0 times>"),
        ("trace 0-1 norm, top1 if token > 2", "<Tracepoint 1 norm, top1 at 0-1 (2 stages) if token > 2, hit 0 times>"),
        ("watch top1", "<Watch 1 top1 at layers (2 stages), hit 0 times>"),
    ],
)
def test_a_repr_says_all_that_is_known_of_it_and_nothing_twice(line, shown):
    session = started()
    assert repr(do(session, line).data) == shown
    do(session, "commands 1 step; info stage")
    assert repr(session.breakpoints.list()[0]) == f"{shown[:-1]}, 2 commands>"


def test_goto_tokenize_of_a_later_token_is_refused():
    session = started()
    do(session, "token 2")
    with pytest.raises(CommandError, match="runs once"):
        do(session, "goto tokenize@2")
    assert here(session) == "sample@1"


def test_words_inside_quotes_are_text():
    session = started()
    do(session, "break 1 if top1 == ' if '")
    do(session, 'trace 0 top1 == " if ", norm if token > 2')
    do(session, "watch top1 == ' at '")
    do(session, 'watch top1 == " at " at 0-1')
    do(session, 'commands 1 break 0 if top1 == ";"; info stage')
    points = session.breakpoints.list()
    assert points[0].condition.text == "top1 == ' if '"
    assert [each.text for each in points[1].expressions] == ['top1 == " if "', "norm"]
    assert points[1].condition.text == "token > 2"
    assert points[2].expressions[0].text == "top1 == ' at '"
    assert points[3].target.text == "0-1"
    assert points[0].commands == ('break 0 if top1 == ";"', "info stage")

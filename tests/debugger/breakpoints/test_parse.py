"""Breakpoints from their text, without a model; and what a model is asked about them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmdbg.debugger.breakpoints import metrics
from llmdbg.debugger.breakpoints.addresses import AddressBook, StageGroup
from llmdbg.debugger.breakpoints.breakpoints import BreakpointKind
from llmdbg.debugger.breakpoints.conditions import parse_condition
from llmdbg.debugger.breakpoints.expression_syntax import parse_expressions
from llmdbg.debugger.breakpoints.parse import BreakpointSpec, parse_break, parse_saved, parse_trace, parse_watch
from llmdbg.errors import AddressError, ConditionError, LlmdbgError
from llmdbg.models.anatomy import dissect
from tests.sessions import do, tiny_session
from tests.tiny import tiny_model

BREAK, TRACE, WATCH = BreakpointKind.BREAK, BreakpointKind.TRACE, BreakpointKind.WATCH


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        (parse_break(" 12@5 "), BreakpointSpec(BREAK, "12@5")),
        (
            parse_break('0-1 if top1 == " if "'),
            BreakpointSpec(BREAK, "0-1", condition=parse_condition('top1 == " if "')),
        ),
        (parse_trace("1"), BreakpointSpec(TRACE, "1")),
        (parse_trace("layer 1"), BreakpointSpec(TRACE, "layer 1")),
        (
            parse_trace("layers *  norm, top1 if token > 2"),
            BreakpointSpec(
                TRACE, "layers *", condition=parse_condition("token > 2"), expressions=parse_expressions("norm, top1")
            ),
        ),
        (
            parse_watch("top1"),
            BreakpointSpec(WATCH, "layers", StageGroup.LAYERS, expressions=parse_expressions("top1")),
        ),
        (
            parse_watch('rank(" at ") at 0-1'),
            BreakpointSpec(WATCH, "0-1", expressions=parse_expressions('rank(" at ")')),
        ),
    ],
)
def test_what_a_text_stands_for(spec, wanted):
    assert spec == wanted


@pytest.mark.parametrize(
    ("text", "group", "trigger"),
    [
        ("nonfinite", StageGroup.EVERYTHING, "nonfinite"),
        ("jump 4", StageGroup.LAYERS, "jump 4"),
        ("flip", StageGroup.LAYERS, "changed(top1)"),
        ("surprise .5", StageGroup.SAMPLE, "surprise 0.5"),
    ],
)
def test_ready_made_ones_name_a_group_and_no_address(text, group, trigger):
    spec = parse_break(text)
    assert (spec.address, spec.group, spec.trigger.text, spec.condition) == (text, group, trigger, None)
    assert spec.addresses() == ()
    narrowed = parse_break(f"{text} if token > 3")
    assert (narrowed.group, narrowed.trigger, narrowed.condition.text) == (group, spec.trigger, "token > 3")


@pytest.mark.parametrize(
    "spec",
    [
        parse_break("1@decode if norm > 1"),
        parse_break("jump 3"),
        parse_break("flip if token > 3"),
        parse_trace("0 norm, abs( mean ) if changed(top1)"),
        parse_watch("top1"),
        parse_watch("top1 at 0-1"),
    ],
)
def test_what_is_saved_of_one_reads_as_the_same(spec):
    condition = None if spec.condition is None else spec.condition.text
    assert parse_saved(spec.kind, spec.address, condition, [each.text for each in spec.expressions]) == spec


def test_groups_are_the_model_s_own_stages():
    anatomy = dissect(tiny_model("llama"))
    book = AddressBook(anatomy)
    everything = parse_break("nonfinite").target(book)
    assert everything.addresses == {stage.address for stage in anatomy.stages} - {"tokenize"}
    assert parse_watch("norm").target(book).addresses == {"0", "1"}
    assert parse_break("surprise").target(book).addresses == {"sample"}
    with pytest.raises(AddressError, match="nearest"):
        parse_watch("norm at nrm").target(book)


@given(st.sampled_from([parse_break, parse_trace, parse_watch]), st.text(max_size=40))
def test_any_text_is_read_or_refused(parse, text):
    try:
        spec = parse(text)
    except LlmdbgError as refused:
        assert isinstance(refused, ConditionError)
        return
    assert spec.kind in BreakpointKind


class _Built(Exception):
    pass


@pytest.fixture
def no_lens_yet(monkeypatch):
    def build(*_):
        raise _Built

    monkeypatch.setattr(metrics, "build_lens", build)


@pytest.mark.parametrize(
    "line",
    ["break *.mlp if norm > 100 and layer >= 0", "trace 0-1 norm, ms if token > 1", "watch norm", "break jump 5",
     "break surprise", "break logits if entropy < 1 and top1 != ' the'", "break nonfinite"],
)  # fmt: skip
def test_a_lens_is_built_only_for_what_needs_one(no_lens_yet, line):
    session = tiny_session(max_new_tokens=4)
    do(session, line)
    while session.end is None:
        do(session, "continue")


@pytest.mark.parametrize("line", ["break 1 if entropy < 1", "trace 0 top1", "watch top1", "break flip"])
def test_what_needs_a_lens_has_it_built_at_once(no_lens_yet, line):
    with pytest.raises(_Built):
        do(tiny_session(), line)


def test_a_new_condition_builds_no_lens_either(no_lens_yet):
    session = tiny_session()
    do(session, "break 1")
    do(session, "condition 1 norm > 3")
    with pytest.raises(_Built):
        do(session, "condition 1 top1_prob > .5")

"""What conditions are worth: Python's own answer where everything is known, and unknown where it is not."""

import math
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from llmdbg.debugger.breakpoints.conditions import evaluate, parse_condition, why_unknown
from llmdbg.debugger.breakpoints.expression_syntax import MOST_CHARACTERS, parse_expression
from llmdbg.debugger.breakpoints.parse import check_answerable
from llmdbg.errors import ConditionError
from llmdbg.models.stages import StageKind
from llmdbg.models.tokens import TokenizerVocabulary
from llmdbg.probes.quantities import NAMES, TEXTS, of_token
from tests.debugger import expression_texts
from tests.debugger.expression_texts import worth

NAN, INF = math.nan, math.inf


def holds(text, **values):
    return parse_condition(text).holds(values, {})


@pytest.mark.parametrize(
    ("text", "values", "wanted"),
    [
        ("norm", {"norm": 2.5}, 2.5),
        ("top1", {"top1": " the"}, " the"),
        ("1 + 2 * 3 - 8 / 4", {}, 5.0),
        ("7 // 2 + 7 % 4", {}, 6),
        ("2 ** 3 ** 2", {}, 512.0),
        ("-2 ** 2", {}, -4.0),
        ("abs(min) + abs(-3)", {"min": -2}, 5),
        ("0 < token < 5", {"token": 3}, True),
        ("0 < token < 5", {"token": 5}, False),
        ("phase == 'decode' and layer != 3", {"phase": "decode", "layer": 4}, True),
        ('rank(" Paris") <= 3', {'rank(" Paris")': 3}, True),
        ("nan or inf", {"nan": 0, "inf": 2}, True),
        ("not nan", {"nan": 0}, True),
    ],
)
def test_known_values(text, values, wanted):
    got = worth(text, **values)

    assert got == wanted
    assert type(got) is type(wanted)


@pytest.mark.parametrize(
    "text",
    ["norm", "norm > 3", "not norm > 3", "norm == norm", "-norm < 1", "abs(norm) > 1", "norm + 1 > 0", "top1 != 'a'"],
)
def test_what_is_made_of_an_unknown_is_unknown(text):
    assert worth(text) is None
    assert worth(text, norm=None, top1=None) is None


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("norm > 3 and nan", False),
        ("norm > 3 and token", None),
        ("norm > 3 or token", True),
        ("norm > 3 or nan", None),
        ("not (norm > 3 and nan)", True),
        ("5 < token < norm", False),
        ("0 < token < norm", None),
    ],
)
def test_one_part_may_settle_it_whatever_is_unknown(text, wanted):
    assert worth(text, token=3, nan=0) is wanted


def test_a_condition_holds_only_when_it_is_true():
    assert holds("norm > 3", norm=4)
    assert not holds("norm > 3", norm=3)
    assert not holds("norm > 3")
    assert not holds("not norm > 3")
    assert holds("nan", nan=1)
    assert not holds("nan", nan=0)


@pytest.mark.parametrize(
    "text", ["1 / nan", "1 // nan", "1 % nan", "1e308 * 10", "1e308 + 1e308", "2 ** 5000", "0 ** -1", "(0 - 8) ** .5"]
)
def test_what_has_no_number_is_unknown(text):
    assert worth(text, nan=0) is None
    assert not holds(f"({text}) > 1 or ({text}) <= 1", nan=0)


def test_a_measured_nan_is_known_and_compares_as_nan_does():
    assert worth("norm < 100", norm=NAN) is False
    assert worth("not norm < 100", norm=NAN) is True
    assert math.isnan(worth("norm + 1", norm=NAN))
    assert worth("max + 1 > 5", max=INF) is True


@pytest.mark.parametrize("text", ["norm > 3", "norm + 1", "-norm", "abs(norm)", "top1 == 'a'", "norm == 3"])
def test_a_value_of_the_wrong_sort_is_unknown(text):
    assert worth(text, norm="a text", top1=3) is None


def forgetful() -> dict[Any, Any]:
    """The memory of a condition that has looked at nothing yet."""
    return {}


class TestChanged:
    def test_the_first_time_is_unknown_and_then_it_says(self):
        condition, memory = parse_condition("changed(top1)"), forgetful()
        seen = [condition.holds({"top1": text}, memory) for text in ("a", "a", "b", "b", "a")]

        assert seen == [False, False, True, False, True]
        assert evaluate(condition, {"top1": "a"}, {}) is None

    def test_what_is_unknown_in_between_is_passed_over(self):
        condition, memory = parse_condition("changed(token)"), forgetful()
        values: tuple[dict[str, Any], ...] = ({"token": 1}, {}, {"token": 1}, {"token": None}, {"token": 2})

        assert [evaluate(condition, each, memory) for each in values] == [None, None, False, None, True]

    def test_two_of_one_thing_do_not_disturb_each_other(self):
        condition, memory = parse_condition("changed(norm) and changed(norm)"), forgetful()

        assert [condition.holds({"norm": value}, memory) for value in (1, 2, 2)] == [False, True, False]

    def test_it_takes_note_whatever_stands_beside_it(self):
        condition, memory = parse_condition("token > 1 and changed(top1)"), forgetful()
        for token, text in enumerate(("a", "b", "b")):
            held = condition.holds({"token": token, "top1": text}, memory)

        assert not held

    def test_of_a_comparison_and_of_itself(self):
        condition, memory = parse_condition("changed(norm > 3)"), forgetful()
        assert [condition.holds({"norm": value}, memory) for value in (1, 2, 4, 5, 0)] == [0, 0, 1, 0, 1]

        condition, memory = parse_condition("changed(changed(norm))"), forgetful()
        assert [condition.holds({"norm": value}, memory) for value in (1, 1, 2, 3, 3)] == [0, 0, 1, 0, 1]

    def test_a_nan_that_stays_has_not_changed(self):
        condition, memory = parse_condition("changed(mean)"), forgetful()

        assert [condition.holds({"mean": value}, memory) for value in (1.0, NAN, NAN, 1.0)] == [0, 1, 0, 1]

    def test_memories_are_apart(self):
        condition, here, there = parse_condition("changed(norm)"), forgetful(), forgetful()
        condition.holds({"norm": 1}, here)

        assert not condition.holds({"norm": 2}, there)
        assert condition.holds({"norm": 2}, here)


class TestMayHold:
    def test_what_is_settled_before_measuring_needs_no_measuring(self):
        condition = parse_condition("token > 5 and norm > 100")

        assert not condition.may_hold({"token": 5, "layer": 1})
        assert condition.may_hold({"token": 6, "layer": 1})
        assert parse_condition("norm > 100").may_hold({"token": 5})
        assert not parse_condition("layer == 2 and nan").may_hold({"layer": 3})

    def test_one_that_remembers_sees_every_value(self):
        assert parse_condition("token > 5 and changed(norm)").may_hold({"token": 1})

    @settings(deadline=None, max_examples=150)
    @given(expression_texts.truths, expression_texts.values, st.sets(st.sampled_from(["token", "layer", "stage"])))
    def test_it_never_rules_out_what_holds(self, text, values, known):
        assume(len(text) <= MOST_CHARACTERS)
        condition = parse_condition(text)

        if condition.holds(values, {}):
            assert condition.may_hold({name: values[name] for name in known})


@settings(deadline=None, max_examples=200)
@given(st.one_of(expression_texts.truths, expression_texts.numbers), expression_texts.values)
def test_where_all_is_known_python_says_the_same(text, values):
    assume(len(text) <= MOST_CHARACTERS)
    expression = parse_expression(text)
    got = evaluate(expression, values, {})
    assume(got is not None)
    # What is settled whatever is unknown is so for any value of it.
    anything = {name: " the" if name in TEXTS else 1.5 for name in NAMES}
    values = anything | {name: value for name, value in values.items() if value is not None}
    try:
        wanted = eval(text, {"abs": abs}, values)
    except (ArithmeticError, ValueError):
        return  # Python gives up where another part settles it for us
    if isinstance(got, bool):
        assert got is bool(wanted)
    else:
        assert got == wanted or (isinstance(got, float) and math.isnan(got) and math.isnan(wanted))


@settings(deadline=None, max_examples=150)
@given(
    st.one_of(expression_texts.truths, expression_texts.numbers),
    st.dictionaries(
        st.sampled_from(list(NAMES)), st.one_of(st.none(), st.text(), st.floats(), st.integers(), st.booleans())
    ),
)
def test_nothing_measured_makes_it_raise(text, values):
    assume(len(text) <= MOST_CHARACTERS)
    assert isinstance(evaluate(parse_expression(text), values, {}), (int, float, str, type(None)))


def refused(text, kinds, no_lens=""):
    """Why a condition can never be answered at stages of these kinds, empty where it can."""
    try:
        check_answerable([parse_condition(text)], kinds, TokenizerVocabulary(None), lambda: no_lens)
    except ConditionError as error:
        return str(error)
    return ""


class TestNeverKnown:
    def test_a_name_that_no_such_stage_has_is_pointed_out(self):
        line = "`layer` is never known at logits, which belongs to no decoder layer"
        assert refused("layer > 3 and norm > 2", [StageKind.LOGITS]) == line
        assert not refused("layer > 3 and norm > 2", [StageKind.LAYER])

    def test_one_stage_that_has_it_is_enough(self):
        assert not refused("layer > 3", [StageKind.LOGITS, StageKind.LAYER])
        assert refused("layer > 3", [StageKind.LOGITS, StageKind.EMBED])
        assert not refused("layer > 3", [])

    def test_predictions_need_scores_or_a_lens(self):
        text = 'rank("a") < 3 or entropy < 1'

        assert not refused(text, [StageKind.LAYER])
        line = refused(text, [StageKind.LAYER], "it has no head")
        assert line == "`entropy` is known from logits on, and never at a stage of kind layer: it has no head"
        line = refused('rank("a") < 3', [StageKind.LAYER], "it has no head")
        assert line.startswith('`rank("a")` is known from logits on')
        for kind in (StageKind.LOGITS, StageKind.PROCESSOR, StageKind.SAMPLE):
            assert not refused(text, [kind], "it has no head")
        assert "no model has run" in refused(text, [StageKind.TOKENIZE])

    @pytest.mark.parametrize("kind", [kind for kind in StageKind if kind is not StageKind.LINE])
    def test_numbers_of_an_output_may_be_anywhere(self, kind):
        assert why_unknown("norm", kind) is None

    @pytest.mark.parametrize("kind", StageKind)
    def test_the_phase_is_known_everywhere(self, kind):
        assert why_unknown("phase", kind) is None

    @pytest.mark.parametrize("name", ["norm", "nan", "ms", "entropy", of_token("rank", "a")])
    def test_a_line_has_no_output_and_predicts_nothing(self, name):
        assert "is never known at a line, which returns nothing" in str(why_unknown(name, StageKind.LINE))


def test_conditions_are_values():
    assert parse_condition("norm > 3") == parse_condition(" norm > 3 ")
    assert parse_condition("norm > 3") != parse_condition("norm > 4")
    assert hash(parse_condition("norm > 3")) == hash(parse_condition("norm > 3"))
    assert parse_condition("norm > 3").text == "norm > 3"

"""Reading conditions: what is taken, what is refused and in which words, and that nothing from a stranger does harm."""

import ast
import os
from datetime import timedelta
from itertools import product

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from llmdbg.debugger.breakpoints.conditions import evaluate, parse_condition
from llmdbg.debugger.breakpoints.expression_syntax import MOST_CHARACTERS, Kind, parse_expression, parse_expressions
from llmdbg.errors import CommandError, ConditionError
from llmdbg.probes.quantities import NAMES, OF_TOKEN, TEXTS, QuantityValue
from tests.debugger import expression_texts
from tests.debugger.expression_texts import worth


def test_a_condition_is_read_as_python_reads_it():
    text = "norm > 100 and (1 < layer <= 8 or not nan) and top1 == ' the'"
    read = parse_expression(text)

    for norm, layer, nan, top1 in product((100, 101), (1, 2, 8, 9), (0, 1), (" the", "the")):
        wanted = norm > 100 and (1 < layer <= 8 or not nan) and top1 == " the"
        assert worth(text, norm=norm, layer=layer, nan=nan, top1=top1) is wanted
    assert read.names == {"norm", "layer", "nan", "top1"}
    assert not read.remembers


def test_python_s_precedence_holds():
    assert worth("1 + 2 * max ** 2", max=3) == 19


def test_tokens_are_asked_for_by_their_text():
    read = parse_expression('rank(" Paris") <= 3 and prob("\\n") > .5')

    assert read.names == {'rank(" Paris")', 'prob("\\n")'}
    assert read.tokens == {" Paris", "\n"}


def test_each_changed_has_a_slot_of_its_own():
    read = parse_expression("changed(top1) or changed(top1)")

    memory: dict[int, QuantityValue] = {}
    assert [evaluate(read, {"top1": text}, memory) for text in "aab"] == [None, False, True]
    assert list(memory.values()) == ["b", "b"]
    assert read.remembers


def test_several_expressions_are_read_at_once():
    read = parse_expressions('norm, "é" == top1, abs( mean ) + 1, changed(norm)')

    assert [each.text for each in read] == ["norm", '"é" == top1', "abs( mean ) + 1", "changed(norm)"]
    assert [each.names for each in read] == [{"norm"}, {"top1"}, {"mean"}, {"norm"}]
    memory: dict[int, QuantityValue] = {}
    assert [evaluate(read[3], {"norm": norm}, memory) for norm in (1, 2, 2)] == [None, True, False]


@pytest.mark.parametrize("name", NAMES)
def test_every_name_can_be_asked_for(name):
    read = parse_expression(f"  {name} ")

    assert (read.text, read.names) == (name, frozenset({name}))
    assert read.kind is (Kind.TEXT if name in TEXTS else Kind.NUMBER)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nrom > 3", "at character 1 of 'nrom > 3': 'nrom' is not a known name: the nearest is 'norm'"),
        ("'é' == top1 and nrm", "at character 17 of \"'é' == top1 and nrm\": 'nrm' is not a known name"),
        ("norm >", "at character 7 of 'norm >': the expression is incomplete"),
        ("norm norm", "at character 6 of 'norm norm': syntax error"),
        ("(norm", "at character 1 of '(norm': syntax error"),
        ("norm & nan", "at character 6 of 'norm & nan': '&' is not allowed in an expression: write `and`"),
        ("norm = 3", "at character 6 of 'norm = 3': '=' is not allowed in an expression: write `==`"),
        ("!nan", "write `not`"),
        ("top1 == 'a", "a quote is not closed"),
        ("out.norm", "'out.norm' is not allowed: an expression is made of numbers"),
        ("norm[0]", "'[' is not allowed"),
        ("norm if nan else inf", "is not allowed"),
        ("norm << 2", "is not allowed"),
        ("f'{norm}' == top1", "is not allowed"),
        ("abs(x for x in nan)", "is not allowed"),
        ("abs(*nan)", "is not allowed"),
        ("()", "is not allowed"),
        ("True", "'True' is neither a number nor a text"),
        ("3j > norm", "is neither a number nor a text"),
        ("b'x' == top1", "is neither a number nor a text"),
        ("1e999 > norm", "'1e999' is too large a number"),
        ("9" * 400 + " > norm", "is too large a number"),
        ("exp(norm)", "'exp' cannot be called: there are rank"),
        ("chagned(norm)", "'chagned' cannot be called: the nearest is 'changed'"),
        ("__import__('os')", "cannot be called"),
        ("(layer)(3)", "is a value, and takes no parentheses"),
        ("rank > 2", "'rank' needs an argument in parentheses: rank(\" Paris\")"),
        ("rank(3) > 2", "'3' is not the quoted text of a token"),
        ("rank('') > 2", "is not the quoted text of a token"),
        ("rank(top1) > 2", "is not the quoted text of a token"),
        ("rank(text='a') > 2", "write `==`"),
        ("rank('a', 'b') > 2", "takes exactly one argument"),
        ("changed()", "takes exactly one argument: changed(top1)"),
        ("changed(3)", "'3' never changes"),
        ("phase == prefill", "'prefill' is a text, and needs quotes: phase == \"prefill\""),
        ("phase == 'decod'", "is not a phase: the nearest is 'decode'"),
        ("top1 > 'a'", "'top1' is a text: compare it with == or !=, not with >"),
        ("norm > 'a'", "is a text, but is compared with a number"),
        ("top1 + 1 > 2", "'top1' is a text, where a number is needed"),
        ("-(norm > 2) < 1", "'norm > 2' is a truth value, where a number is needed"),
        ("(norm > 2) == nan", "'norm > 2' is already true or false"),
        ("nan == (norm > 2)", "'norm > 2' is already true or false"),
        ("top1 in 'abc'", "does not use one of the comparisons < <= > >= == !="),
        ("norm is nan", "does not use one of the comparisons"),
        ("not top1", "'top1' is a text, which is neither true nor false"),
        ("norm and top1", "'top1' is a text, which is neither true nor false"),
        ("'norm'", "is a bare text, which says nothing about the model"),
        ("norm, nan", "is 2 expressions: give just one here"),
        ("", "an expression is missing"),
        ("norm\n> 3", "contains a line break or another control character"),
        ("top1 == '\x1b[2J'", "control character"),
        ("norm > 1" + " " * MOST_CHARACTERS + "+ 1", f"at most {MOST_CHARACTERS} characters"),
        ("(" * 40 + "norm" + ")" * 40, "more than 30 parentheses are open"),
        ("-" * 100 + "norm", "it is nested more than 60 deep"),
        ("+".join(["1"] * 100), "it is nested more than 60 deep"),
        ("top1 == '\ud800'", "cannot be read"),
    ],
)
def test_what_is_wrong_is_said(text, said):
    with pytest.raises(ConditionError) as raised:
        parse_expression(text)

    line = str(raised.value)
    assert said in line
    assert len(line) < 300
    assert line.isprintable()


def test_it_is_a_command_s_error():
    assert issubclass(ConditionError, CommandError)


@pytest.mark.parametrize("text", ["top1", "stage"])
def test_a_text_is_no_condition(text):
    with pytest.raises(ConditionError, match="neither true nor false"):
        parse_condition(text)


@pytest.mark.parametrize(
    "text",
    ["9**9**9**9 > 1", "(9**9)**(9**9) > 1", "2.0**99999 > 1", "*".join(["9007199254740992"] * 28) + " > 1"],
)
def test_a_number_without_bound_is_never_reached(text):
    assert evaluate(parse_expression(text), {}, {}) is None


@pytest.mark.filterwarnings("error")
def test_python_does_not_warn_about_texts():
    assert worth(r"top1 == '\d'", top1="\\d") is True
    assert parse_expression("1and norm").names == {"norm"}


def test_reading_runs_nothing(monkeypatch):
    ran: list[str] = []
    monkeypatch.setattr(os, "system", ran.append)
    for text in ("__import__('os').system('x')", "().__class__", "abs(__import__('os').system('x'))"):
        with pytest.raises(ConditionError):
            parse_expression(text)
    assert not ran


PIECES = st.lists(
    st.one_of(
        st.sampled_from(
            [*NAMES, "rank", "prob", "changed", "abs", "and", "or", "not", "if", "else", "in", "is", "await"]
        ),
        st.sampled_from(
            [*"()()()+-*/%<>=!.,'\"\\#:[]{}~^&|@;\n\t\x00", "**", "//", "<=", "==", "!=", "f'{", ":=", "..."]
        ),
        st.sampled_from(
            ["0x1f", "1_0", "1e5", "1e999", "007", "'a'", '" the"', "b''", "é", "\ud800", "\u202e", "ｎｏｒｍ"]
        ),
    ),
    max_size=60,
)
SOON = timedelta(seconds=5)
ALLOWED = (
    *(ast.Constant, ast.Name, ast.Load, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.Call),
    *(ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow, ast.USub, ast.UAdd, ast.Not),
    *(ast.And, ast.Or, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq),
)


def read_or_refused(text):
    """What is read, can be worked out, and is the same when read from its own text."""
    try:
        read = parse_expression(text)
    except ConditionError as refused:
        assert str(refused).isprintable()
        return
    for node in ast.walk(read.root):
        assert type(node) in ALLOWED
        assert not isinstance(node, ast.Name) or node.id in (*NAMES, *OF_TOKEN, "abs", "changed")
        assert not isinstance(node, ast.Constant) or type(node.value) in (int, float, str)
    evaluate(read, dict.fromkeys(NAMES, 1.5), {})
    reads_back(read)


def reads_back(read):
    """Its own text is read as the very same tree."""
    again = parse_expression(read.text)
    assert again == read
    assert ast.dump(again.root) == ast.dump(read.root)


@settings(deadline=SOON, max_examples=400)
@given(st.one_of(st.text(max_size=600), PIECES.map(" ".join), PIECES.map("".join)))
@example("(" * 250 + ")" * 250)
@example("((((" * 7 + "norm" + "))))" * 7)
@example("f'{" * 100)
@example("not " * 120 + "nan")
@example("-" * 499 + "1")
@example("lambda " * 70)
@example("a.b" * 160)
@example("1if 1else " * 40 + "1")
@example("9" * 499 + "**9")
def test_any_text_is_read_or_refused(text):
    read_or_refused(text)


LEAVES = st.one_of(
    st.sampled_from([*NAMES, "rank", "abs", "changed", "open"]).map(lambda name: ast.Name(name, ast.Load())),
    st.one_of(st.integers(), st.floats(), st.text(max_size=5), st.booleans(), st.none(), st.binary(max_size=3)).map(
        ast.Constant
    ),
)


def _inside(inner):
    some = st.lists(inner, min_size=1, max_size=3)
    operators = st.sampled_from([ast.Add, ast.Pow, ast.Mod, ast.Div, ast.LShift, ast.MatMult, ast.BitOr])
    return st.one_of(
        st.builds(lambda left, sign, right: ast.BinOp(left, sign(), right), inner, operators, inner),
        st.builds(
            lambda sign, each: ast.UnaryOp(sign(), each), st.sampled_from([ast.Not, ast.USub, ast.Invert]), inner
        ),
        st.builds(lambda sign, parts: ast.BoolOp(sign(), [*parts, parts[0]]), st.sampled_from([ast.And, ast.Or]), some),
        st.builds(
            lambda left, sign, right: ast.Compare(left, [sign()], [right]),
            inner,
            st.sampled_from([ast.Lt, ast.Eq, ast.In, ast.Is]),
            inner,
        ),
        st.builds(lambda called, given: ast.Call(called, given, []), inner, some),
        st.builds(lambda each: ast.Attribute(each, "real", ast.Load()), inner),
        st.builds(lambda each, at: ast.Subscript(each, at, ast.Load()), inner, inner),
        st.builds(ast.IfExp, inner, inner, inner),
        some.map(lambda parts: ast.Tuple(parts, ast.Load())),
        some.map(lambda parts: ast.List(parts, ast.Load())),
    )


@settings(deadline=SOON, max_examples=300)
@given(st.recursive(LEAVES, _inside, max_leaves=12))
def test_any_python_expression_is_read_or_refused(tree):
    read_or_refused(ast.unparse(tree))


@settings(deadline=None, max_examples=150)
@given(st.one_of(expression_texts.numbers, expression_texts.truths))
def test_what_the_grammar_allows_is_read(text):
    if len(text) <= MOST_CHARACTERS:
        reads_back(parse_expression(text))

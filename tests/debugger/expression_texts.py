"""Hypothesis strategies that write expressions, and what an expression is worth."""

from hypothesis import strategies as st

from llmdbg.debugger.breakpoints.conditions import evaluate
from llmdbg.debugger.breakpoints.expression_syntax import parse_expression


def worth(text, **values):
    return evaluate(parse_expression(text), values, {})


NUMBERS = st.sampled_from(["min", "max", "norm", "nan", "token", "layer", "entropy"])
TEXTS = st.sampled_from(["top1", "stage"])
LITERALS = st.one_of(
    st.integers(0, 12).map(str), st.floats(0, 1e6).map(repr), st.sampled_from(["1e300", "9007199254740992"])
)


def _numbers(inner):
    binary = st.tuples(inner, st.sampled_from(["+", "-", "*", "/", "//", "%"]), inner).map(lambda t: f"({' '.join(t)})")
    return st.one_of(binary, inner.map(lambda text: f"-({text})"), inner.map(lambda text: f"abs({text})"))


def _truths(inner):
    joined = st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(lambda t: f"({' '.join(t)})")
    return st.one_of(joined, inner.map(lambda text: f"(not {text})"))


numbers = st.recursive(st.one_of(NUMBERS, LITERALS), _numbers, max_leaves=6)
_operators = st.sampled_from(["<", "<=", ">", ">=", "==", "!="])
_compared = st.one_of(
    st.tuples(numbers, _operators, numbers).map(" ".join),
    st.tuples(numbers, _operators, numbers, _operators, numbers).map(" ".join),
    st.tuples(TEXTS, st.sampled_from(["==", "!="]), st.sampled_from(['" the"', "'12'"])).map(" ".join),
)
truths = st.recursive(st.one_of(_compared.map(lambda text: f"({text})"), NUMBERS), _truths, max_leaves=6)

measured = st.one_of(
    st.none(), st.integers(-5, 20), st.floats(), st.sampled_from([0, 0.0, 1e308, -1e308, float("nan"), float("inf")])
)
values = st.fixed_dictionaries(
    dict.fromkeys(("min", "max", "norm", "nan", "token", "layer", "entropy"), measured)
    | dict.fromkeys(("top1", "stage"), st.one_of(st.none(), st.sampled_from([" the", "12", ""])))
)

"""The small language of conditions, tracepoints and watches: from text to a checked tree.

    norm > 100 and layer >= 8        0.5 < top1_prob < 0.9        rank(" Paris") <= 3 or changed(top1)

Numbers, quoted texts, the names of `llmdbg.probes.quantities`, + - * / // % **, comparisons, and/or/not, abs(…),
rank("…"), prob("…"), changed(…), statistics of a local tensor as in absmax("attn_weights"), and nothing else. An
expression is data: Python's own parser turns it into a tree of bounded length and depth, every node is checked against
what is allowed here, and no part of it ever runs as Python: `conditions` evaluates it node by node.
"""

from __future__ import annotations

import ast
import math
import operator
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from llmdbg.errors import ConditionError
from llmdbg.formatting import nearest_or_all
from llmdbg.models.stages import Phase
from llmdbg.probes.quantities import LOCAL, NAMES, OF_OUTPUT, OF_TOKEN, TEXTS, of_local, of_token

MOST_CHARACTERS = 500
MOST_DEPTH = 60
_MOST_PARENTHESES = 30
_MOST_WHOLE_NUMBER = 2**53
_MOST_SHOWN = 60

_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"|' + r"'(?:[^'\\]|\\.)*'")
_UNFIT = re.compile(r"[^\w\s()+\-*/%<>=!.,]|!(?!=)|(?<![=!<>])=(?!=)")
_INSTEAD = {"&": "and", "|": "or", "!": "not", "^": "**", "=": "=="}
_FUNCTIONS = (*OF_TOKEN, "changed", "abs")
_ALLOWED = "numbers, quoted texts, names, + - * / // % **, comparisons, and, or, not, and " + ", ".join(
    f"{function}(…)" for function in (*_FUNCTIONS, *OF_OUTPUT)
)

NO_TRUTH = 'which is neither true nor false: compare it, as in `top1 == " the"`'
"""The end of a message about a text used where a truth value is needed."""

ARITHMETIC: Mapping[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: math.pow,  # in float whatever the operands are: Python's own power of whole numbers has no bound
}
"""The operators between two numbers, and the function of each."""

COMPARISONS: Mapping[type[ast.cmpop], tuple[str, Callable[[Any, Any], bool]]] = {
    ast.Lt: ("<", operator.lt),
    ast.LtE: ("<=", operator.le),
    ast.Gt: (">", operator.gt),
    ast.GtE: (">=", operator.ge),
    ast.Eq: ("==", operator.eq),
    ast.NotEq: ("!=", operator.ne),
}
"""The operators between two numbers or two texts: the sign and the function of each."""


class Kind(StrEnum):
    """The type of an expression's value, or of a part's."""

    NUMBER = "number"
    TEXT = "text"
    TRUTH = "truth value"


@dataclass(frozen=True, slots=True)
class Expression:
    """Something to evaluate at a stage. Two with the same text are equal."""

    text: str
    """What the user wrote."""
    root: ast.expr = field(repr=False, compare=False)
    """Python's tree of it, made of checked nodes only."""
    names: frozenset[str]
    """The quantities it needs, `rank("…")` and `prob("…")` included."""
    tokens: frozenset[str]
    """The token texts in its `rank` and `prob`."""
    remembers: bool
    """Whether it contains a `changed(…)`."""
    kind: Kind
    """The type of its value."""


def parse_expression(text: str) -> Expression:
    """Parse one expression, not a bare quoted text. Raises ConditionError, which says what is wrong and where."""
    expressions = parse_expressions(text)
    if len(expressions) > 1:
        raise ConditionError(f"{_shown(text)} is {len(expressions)} expressions: give just one here")
    return expressions[0]


def parse_expressions(text: str) -> tuple[Expression, ...]:
    """Parse comma-separated expressions: `norm, top1`. Raises ConditionError, which says what is wrong and where."""
    source = _Source(text)
    return tuple(_Checker(source).expression(tree) for tree in source.trees())


class _Source:
    """The text of an expression, and errors that point into it."""

    def __init__(self, text: str) -> None:
        self._text = text.strip()

    def trees(self) -> list[ast.expr]:
        """Python's trees of the expressions between top-level commas."""
        self._check_characters()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # an odd escape in a quoted text is the user's choice
                tree = ast.parse(self._text, mode="eval").body
        except SyntaxError as error:
            # Where the text ends too early, Python reports offset 0 or one past the end.
            column = (error.offset or MOST_CHARACTERS + 1) - 1
            what = "syntax error" if column < len(self._text) else "the expression is incomplete"
            raise self._error_at(column, what) from None
        except (ValueError, MemoryError, RecursionError):
            raise ConditionError(f"{_shown(self._text)} cannot be read") from None
        if self._text.endswith(","):
            raise self._error_at(len(self._text), "an expression is missing after the comma")
        return list(tree.elts) if isinstance(tree, ast.Tuple) and tree.elts else [tree]

    def of(self, tree: ast.expr) -> str:
        """What the user wrote for a node."""
        return ast.get_source_segment(self._text, tree) or self._text

    def error(self, tree: ast.expr, what: str) -> ConditionError:
        """An error whose message is the node's text followed by `what`."""
        return self.error_here(tree, f"{_shown(self.of(tree))} {what}")

    def error_here(self, tree: ast.expr, what: str) -> ConditionError:
        """An error at the column of a node."""
        # Python counts columns in bytes of UTF-8.
        column = len(self._text.encode()[: tree.col_offset].decode(errors="ignore"))
        return self._error_at(column, what)

    def _error_at(self, column: int, what: str) -> ConditionError:
        return ConditionError(f"at character {min(column, len(self._text)) + 1} of {_shown(self._text)}: {what}")

    def _check_characters(self) -> None:
        text = self._text
        if not text:
            raise ConditionError("an expression is missing, as in `norm > 100`")
        if len(text) > MOST_CHARACTERS:
            raise ConditionError(
                f"an expression has at most {MOST_CHARACTERS} characters, and this one has {len(text)}"
            )
        if any(ord(character) < 32 or character == "\x7f" for character in text):
            raise ConditionError(f"{_shown(text)} contains a line break or another control character: write it as \\n")
        bare = _QUOTED.sub(lambda quoted: " " * len(quoted[0]), text)
        if unfit := _UNFIT.search(bare):
            found = unfit[0]
            hint = f": write `{_INSTEAD[found]}`" if found in _INSTEAD else ""
            what = "a quote is not closed" if found in "\"'" else f"{found!r} is not allowed in an expression{hint}"
            raise self._error_at(unfit.start(), what)
        depth = 0
        for column, character in enumerate(bare):
            depth += (character == "(") - (character == ")")
            if depth > _MOST_PARENTHESES:
                raise self._error_at(column, f"more than {_MOST_PARENTHESES} parentheses are open")


class _Checker:
    """Checks one expression's tree against what is allowed, and collects the names and tokens it uses."""

    def __init__(self, source: _Source) -> None:
        self._source = source
        self._error = source.error
        self._names: set[str] = set()
        self._tokens: set[str] = set()
        self._remembers = False
        self._depth = 0

    def expression(self, tree: ast.expr) -> Expression:
        """Return the checked expression. Raises ConditionError for the first node that is not allowed."""
        kind = self._kind(tree)
        if isinstance(tree, ast.Constant) and kind is Kind.TEXT:
            raise self._error(tree, "is a bare text, which says nothing about the model")
        names, tokens = frozenset(self._names), frozenset(self._tokens)
        return Expression(self._source.of(tree), tree, names, tokens, self._remembers, kind)

    def _kind(self, tree: ast.expr) -> Kind:
        """Check a node and everything inside it. Returns the type of its value."""
        if self._depth >= MOST_DEPTH:
            raise self._source.error_here(tree, f"it is nested more than {MOST_DEPTH} deep")
        self._depth += 1
        try:
            return self._kind_of_node(tree)
        finally:
            self._depth -= 1

    def _kind_of_node(self, tree: ast.expr) -> Kind:
        match tree:
            case ast.Constant():
                return self._constant(tree)
            case ast.Name(name):
                return self._name(tree, name)
            case ast.BinOp(left, between, right) if type(between) in ARITHMETIC:
                return self._numbers(left, right)
            case ast.UnaryOp(ast.USub() | ast.UAdd(), operand):
                return self._numbers(operand)
            case ast.UnaryOp(ast.Not(), operand):
                return self._truths(operand)
            case ast.BoolOp(_, parts):
                return self._truths(*parts)
            case ast.Compare():
                return self._comparison(tree)
            case ast.Call():
                return self._call(tree)
        raise self._error(tree, f"is not allowed: an expression is made of {_ALLOWED}")

    def _truths(self, *trees: ast.expr) -> Kind:
        """Check nodes used as truth values: a number is true when it is not 0."""
        for tree in trees:
            if self._kind(tree) is Kind.TEXT:
                raise self._error(tree, f"is a text, {NO_TRUTH}")
        return Kind.TRUTH

    def _numbers(self, *trees: ast.expr) -> Kind:
        for tree in trees:
            if (kind := self._kind(tree)) is not Kind.NUMBER:
                raise self._error(tree, f"is a {kind}, where a number is needed")
        return Kind.NUMBER

    def _constant(self, tree: ast.Constant) -> Kind:
        value = tree.value
        if isinstance(value, str):
            return Kind.TEXT
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._error(tree, "is neither a number nor a text")
        if isinstance(value, float) or value > _MOST_WHOLE_NUMBER:
            tree.value = self._finite(tree, value)
        return Kind.NUMBER

    def _finite(self, tree: ast.expr, value: int | float) -> float:
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise self._error(tree, "is too large a number")
        return number

    def _name(self, tree: ast.expr, name: str) -> Kind:
        if name in NAMES:
            self._names.add(name)
            return Kind.TEXT if name in TEXTS else Kind.NUMBER
        if name in _FUNCTIONS:
            raise self._error(tree, f"needs an argument in parentheses: {_usage(name)}")
        if name in tuple(Phase):
            raise self._error(tree, f'is a text, and needs quotes: phase == "{name}"')
        raise self._error(tree, f"is not a known name: {nearest_or_all(name, (*NAMES, *_FUNCTIONS))}")

    def _comparison(self, tree: ast.Compare) -> Kind:
        if any(type(each) not in COMPARISONS for each in tree.ops):
            signs = " ".join(sign for sign, _ in COMPARISONS.values())
            raise self._error(tree, f"does not use one of the comparisons {signs}")
        trees = (tree.left, *tree.comparators)
        kinds = [self._kind(each) for each in trees]
        for index, between in enumerate(tree.ops):
            sign, _ = COMPARISONS[type(between)]
            self._check_pair(sign, trees[index : index + 2], kinds[index : index + 2])
        return Kind.TRUTH

    def _check_pair(self, sign: str, trees: tuple[ast.expr, ...], kinds: list[Kind]) -> None:
        left, right = kinds
        if Kind.TRUTH in kinds:
            raise self._error(trees[left is not Kind.TRUTH], "is already true or false, and cannot be compared")
        if left is not right:
            raise self._error(trees[1], f"is a {right}, but is compared with a {left}")
        if left is Kind.TEXT and sign not in ("==", "!="):
            raise self._error(trees[0], f"is a text: compare it with == or !=, not with {sign}")
        if any(isinstance(each, ast.Name) and each.id == "phase" for each in trees):
            for each in trees:
                if isinstance(each, ast.Constant) and each.value not in tuple(Phase):
                    raise self._error(each, f"is not a phase: {nearest_or_all(str(each.value), list(map(str, Phase)))}")

    def _call(self, tree: ast.Call) -> Kind:
        function = tree.func.id if isinstance(tree.func, ast.Name) else ""
        if function in NAMES and function not in OF_OUTPUT:
            raise self._error(tree.func, "is a value, and takes no parentheses")
        if function not in (*_FUNCTIONS, *OF_OUTPUT):
            hint = f": {nearest_or_all(function, (*_FUNCTIONS, *OF_OUTPUT))}" if function else ""
            raise self._error(tree.func, f"cannot be called{hint}")
        if len(tree.args) != 1 or tree.keywords:
            raise self._error(tree, f"takes exactly one argument: {_usage(function)}")
        [argument] = tree.args
        if function in OF_TOKEN:
            return self._of_token(function, argument)
        if function in OF_OUTPUT:
            return self._of_local(function, argument)
        if function == "abs":
            return self._numbers(argument)
        self._remembers = True
        self._kind(argument)
        if isinstance(argument, ast.Constant):
            raise self._error(argument, "never changes")
        return Kind.TRUTH

    def _of_token(self, function: str, tree: ast.expr) -> Kind:
        text = tree.value if isinstance(tree, ast.Constant) else None
        if not isinstance(text, str) or not text:
            raise self._error(tree, f"is not the quoted text of a token: {_usage(function)}")
        self._tokens.add(text)
        self._names.add(of_token(function, text))
        return Kind.NUMBER

    def _of_local(self, function: str, tree: ast.expr) -> Kind:
        name = tree.value if isinstance(tree, ast.Constant) else None
        if not isinstance(name, str) or not LOCAL.fullmatch(name):
            raise self._error(tree, f"is not the quoted name of a local tensor: {_usage(function)}")
        self._names.add(of_local(function, name))
        return Kind.NUMBER


def _usage(function: str) -> str:
    if function in OF_OUTPUT:
        return f'{function}("attn_weights")'
    return {"changed": "changed(top1)", "abs": "abs(mean)"}.get(function, f'{function}(" Paris")')


def _shown(text: str) -> str:
    return repr(text if len(text) <= _MOST_SHOWN else f"{text[: _MOST_SHOWN - 1]}…")

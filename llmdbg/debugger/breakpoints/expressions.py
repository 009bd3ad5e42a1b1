"""The small language of conditions, tracepoints and watches: from text to a tree.

    norm > 100 and layer >= 8        0.5 < top1_prob < 0.9        rank(" Paris") <= 3 or changed(top1)

Numbers, quoted texts, the names of `llmdbg.probes.quantities`, + - * / // % **, comparisons, and/or/not, abs(…),
rank("…"), prob("…"), changed(…), and nothing else. An expression is data: Python's own parser reads it, its length and
depth are bounded, what it may contain is translated node by node, and no part of it is ever run as Python.
"""

from __future__ import annotations

import ast
import math
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from llmdbg.errors import ConditionError
from llmdbg.formatting import nearest
from llmdbg.models.stages import Phase
from llmdbg.probes.quantities import NAMES, OF_TOKEN, TEXTS, of_token

MOST_CHARACTERS = 500
MOST_DEPTH = 60
_MOST_PARENTHESES = 30
_MOST_WHOLE_NUMBER = 2**53
_MOST_SHOWN = 60

_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"|' + r"'(?:[^'\\]|\\.)*'")
_UNFIT = re.compile(r"[^\w\s()+\-*/%<>=!.,]|!(?!=)|(?<![=!<>])=(?!=)")
_INSTEAD = {"&": "and", "|": "or", "!": "not", "^": "**", "=": "=="}
_ARITHMETIC = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.FloorDiv: "//", ast.Mod: "%", ast.Pow: "**"}
_COMPARISONS = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!="}
_FUNCTIONS = (*OF_TOKEN, "changed", "abs")
_TAKEN = "numbers, quoted texts, names, + - * / // % **, comparisons, and, or, not, and " + ", ".join(
    f"{function}(…)" for function in _FUNCTIONS
)


class Kind(StrEnum):
    """What sort of value a node has."""

    NUMBER = "number"
    TEXT = "text"
    TRUTH = "truth value"


@dataclass(frozen=True, slots=True)
class Number:
    """A finite number."""

    value: int | float


@dataclass(frozen=True, slots=True)
class Text:
    """A quoted text, to compare a text with."""

    value: str


@dataclass(frozen=True, slots=True)
class Name:
    """Something that is measured, or known, at a stage. `rank("…")` and `prob("…")` are names of their own."""

    name: str


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """`left operator right` of two numbers."""

    operator: str
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Negative:
    """The negative of a number."""

    operand: Node


@dataclass(frozen=True, slots=True)
class Absolute:
    """The magnitude of a number."""

    operand: Node


@dataclass(frozen=True, slots=True)
class Comparison:
    """`operands[0] operators[0] operands[1] operators[1] operands[2] …`, true when each pair is."""

    operators: tuple[str, ...]
    operands: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Every:
    """`and`."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Some:
    """`or`."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Negation:
    """`not`."""

    operand: Node


@dataclass(frozen=True, slots=True)
class Changed:
    """Whether a value is other than it was. `slot` numbers the `changed(…)` of one expression from 0."""

    slot: int
    operand: Node


Node = (
    Number | Text | Name | Arithmetic | Negative | Absolute | Comparison | Every | Some | Negation | Changed
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Expression:
    """Something to work out at a stage.

    `text` is what the user wrote and `names` what must be known to work it out, `rank("…")` included. `tokens` are the
    texts in its `rank` and `prob`. `remembers` says that it contains a `changed(…)`.
    """

    text: str
    root: Node
    names: frozenset[str]
    tokens: frozenset[str]
    remembers: bool


def parse_expression(text: str) -> Expression:
    """Read one expression, of any kind but a quoted text alone. Raises ConditionError, which says what is wrong."""
    expressions = parse_expressions(text)
    if len(expressions) > 1:
        raise ConditionError(f"{_shown(text)} is {len(expressions)} expressions, and one is taken here")
    return expressions[0]


def parse_expressions(text: str) -> tuple[Expression, ...]:
    """Read expressions with commas between: `norm, top1`. Raises ConditionError, which says what is wrong and where."""
    reader = _Reader(text)
    return tuple(_expression(reader, each) for each in reader.trees())


def kind_of(node: Node) -> Kind:
    """What sort of value a node has."""
    if isinstance(node, Text) or (isinstance(node, Name) and node.name in TEXTS):
        return Kind.TEXT
    if isinstance(node, (Comparison, Every, Some, Negation, Changed)):
        return Kind.TRUTH
    return Kind.NUMBER


def _expression(reader: _Reader, tree: ast.expr) -> Expression:
    texts: set[str] = set()
    reader.tokens, reader.slots = texts, 0
    root = reader.node(tree)
    if isinstance(root, Text):
        raise reader.error(tree, "is a text alone, which says nothing of the model")
    names = frozenset(node.name for node in _walk(root) if isinstance(node, Name))
    return Expression(reader.source(tree), root, names, frozenset(texts), reader.slots > 0)


def _walk(node: Node) -> Iterator[Node]:
    yield node
    for inner in _inner(node):
        yield from _walk(inner)


def _inner(node: Node) -> tuple[Node, ...]:
    match node:
        case Arithmetic(_, left, right):
            return left, right
        case Negative(operand) | Absolute(operand) | Negation(operand) | Changed(_, operand):
            return (operand,)
        case Comparison(_, parts) | Every(parts) | Some(parts):
            return parts
    return ()


class _Reader:
    """Translates Python's tree into ours, or says where it cannot. `tokens` and `slots` are of one expression."""

    def __init__(self, text: str) -> None:
        self.tokens: set[str] = set()
        self.slots = 0
        self._text = text.strip()
        self._depth = 0

    def trees(self) -> list[ast.expr]:
        """Python's trees of the expressions between top-level commas."""
        self._check_characters()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # an odd escape in a text is no one's business but the user's
                tree = ast.parse(self._text, mode="eval").body
        except SyntaxError as error:
            # Python says 0, or a place beyond, where the text ends too early.
            column = (error.offset or MOST_CHARACTERS + 1) - 1
            what = "here it cannot be read on" if column < len(self._text) else "it ends where something is missing"
            raise self._error_at(column, what) from None
        except (ValueError, MemoryError, RecursionError):
            raise ConditionError(f"{_shown(self._text)} cannot be read") from None
        return list(tree.elts) if isinstance(tree, ast.Tuple) and tree.elts else [tree]

    def source(self, tree: ast.expr) -> str:
        """What the user wrote for a node."""
        return ast.get_source_segment(self._text, tree) or self._text

    def error(self, tree: ast.expr, what: str) -> ConditionError:
        """The error for a node: it `what`."""
        return self._error_at(self._column(tree), f"{_shown(self.source(tree))} {what}")

    def node(self, tree: ast.expr) -> Node:
        """Translate one node and what is inside it."""
        if self._depth >= MOST_DEPTH:
            raise self._error_at(self._column(tree), f"it is nested more than {MOST_DEPTH} deep")
        self._depth += 1
        try:
            return self._translated(tree)
        finally:
            self._depth -= 1

    def _check_characters(self) -> None:
        text = self._text
        if not text:
            raise ConditionError("an expression is missing, as in `norm > 100`")
        if len(text) > MOST_CHARACTERS:
            raise ConditionError(f"an expression has at most {MOST_CHARACTERS} characters, and this one {len(text)}")
        if any(ord(character) < 32 or character == "\x7f" for character in text):
            raise ConditionError(f"{_shown(text)} holds a line break or another control character: write it as \\n")
        bare = _QUOTED.sub(lambda quoted: " " * len(quoted[0]), text)
        if unfit := _UNFIT.search(bare):
            found = unfit[0]
            hint = f": write `{_INSTEAD[found]}`" if found in _INSTEAD else ""
            what = "a quote is not closed" if found in "\"'" else f"{found!r} has no place in an expression{hint}"
            raise self._error_at(unfit.start(), what)
        depth = 0
        for column, character in enumerate(bare):
            depth += (character == "(") - (character == ")")
            if depth > _MOST_PARENTHESES:
                raise self._error_at(column, f"more than {_MOST_PARENTHESES} parentheses are open")

    def _translated(self, tree: ast.expr) -> Node:
        match tree:
            case ast.Constant(value):
                return self._constant(tree, value)
            case ast.Name(name):
                return self._name(tree, name)
            case ast.BinOp(left, operator, right) if type(operator) in _ARITHMETIC:
                return Arithmetic(_ARITHMETIC[type(operator)], self._number(left), self._number(right))
            case ast.UnaryOp(ast.USub(), operand):
                return Negative(self._number(operand))
            case ast.UnaryOp(ast.UAdd(), operand):
                return self._number(operand)
            case ast.UnaryOp(ast.Not(), operand):
                return Negation(self.truth(operand))
            case ast.BoolOp(joined, parts):
                truths = tuple(self.truth(part) for part in parts)
                return Every(truths) if isinstance(joined, ast.And) else Some(truths)
            case ast.Compare():
                return self._comparison(tree)
            case ast.Call():
                return self._call(tree)
        raise self.error(tree, f"has no place in an expression: it is made of {_TAKEN}")

    def truth(self, tree: ast.expr) -> Node:
        """A node that holds or does not: a truth value, or a number, which holds when it is not 0."""
        node = self.node(tree)
        if kind_of(node) is Kind.TEXT:
            raise self.error(tree, 'is a text, which is neither true nor false: compare it, as in `top1 == " the"`')
        return node

    def _number(self, tree: ast.expr) -> Node:
        node = self.node(tree)
        if (kind := kind_of(node)) is not Kind.NUMBER:
            raise self.error(tree, f"is a {kind}, where a number is needed")
        return node

    def _constant(self, tree: ast.expr, value: object) -> Node:
        if isinstance(value, str):
            return Text(value)
        if type(value) is int:
            return Number(value if value <= _MOST_WHOLE_NUMBER else self._finite(tree, value))
        if type(value) is float:
            return Number(self._finite(tree, value))
        raise self.error(tree, "is neither a number nor a text")

    def _finite(self, tree: ast.expr, value: int | float) -> float:
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise self.error(tree, "is too large a number")
        return number

    def _name(self, tree: ast.expr, name: str) -> Name:
        if name in NAMES:
            return Name(name)
        if name in _FUNCTIONS:
            raise self.error(tree, f"takes something in parentheses: {_usage(name)}")
        if name in tuple(Phase):
            raise self.error(tree, f'is a text, and needs quotes: phase == "{name}"')
        raise self.error(tree, f"is no name here: the nearest is {nearest(name, (*NAMES, *_FUNCTIONS))!r}")

    def _comparison(self, tree: ast.Compare) -> Comparison:
        if any(type(each) not in _COMPARISONS for each in tree.ops):
            raise self.error(tree, f"does not compare with any of {' '.join(_COMPARISONS.values())}")
        operators = tuple(_COMPARISONS[type(each)] for each in tree.ops)
        trees = (tree.left, *tree.comparators)
        operands = tuple(self.node(each) for each in trees)
        for index, operator in enumerate(operators):
            self._check_pair(operator, trees[index : index + 2], operands[index : index + 2])
        return Comparison(operators, operands)

    def _check_pair(self, operator: str, trees: tuple[ast.expr, ...], operands: tuple[Node, ...]) -> None:
        left, right = (kind_of(operand) for operand in operands)
        if Kind.TRUTH in (left, right):
            raise self.error(trees[left is not Kind.TRUTH], "is true or false already, and is not compared")
        if left is not right:
            raise self.error(trees[1], f"is a {right}, and is compared with a {left}")
        if left is Kind.TEXT and operator not in ("==", "!="):
            raise self.error(trees[0], f"is a text: it is compared with == and !=, not with {operator}")
        if Name("phase") in operands:
            for literal, where in zip(operands, trees, strict=True):
                if isinstance(literal, Text) and literal.value not in tuple(Phase):
                    raise self.error(
                        where, f"is no phase: the nearest is {nearest(literal.value, list(map(str, Phase)))!r}"
                    )

    def _call(self, tree: ast.Call) -> Node:
        function = tree.func.id if isinstance(tree.func, ast.Name) else ""
        if function in NAMES:
            raise self.error(tree.func, "stands alone, and takes nothing in parentheses")
        if function not in _FUNCTIONS:
            hint = f": the nearest is {nearest(function, _FUNCTIONS)!r}" if function else ""
            raise self.error(tree.func, f"cannot be called{hint}")
        if len(tree.args) != 1 or tree.keywords:
            raise self.error(tree, f"should be one thing in parentheses: {_usage(function)}")
        [argument] = tree.args
        if function in OF_TOKEN:
            return self._of_token(function, argument)
        if function == "abs":
            return Absolute(self._number(argument))
        slot, self.slots = self.slots, self.slots + 1
        operand = self.node(argument)
        if isinstance(operand, (Number, Text)):
            raise self.error(argument, "never changes")
        return Changed(slot, operand)

    def _of_token(self, function: str, tree: ast.expr) -> Name:
        text = tree.value if isinstance(tree, ast.Constant) else None
        if not isinstance(text, str) or not text:
            raise self.error(tree, f"is no quoted text of a token: {_usage(function)}")
        self.tokens.add(text)
        return Name(of_token(function, text))

    def _column(self, tree: ast.expr) -> int:
        # Python counts columns in bytes of UTF-8.
        return len(self._text.encode()[: tree.col_offset].decode(errors="ignore"))

    def _error_at(self, column: int, what: str) -> ConditionError:
        return ConditionError(f"at character {min(column, len(self._text)) + 1} of {_shown(self._text)}: {what}")


def _usage(function: str) -> str:
    return {"changed": "changed(top1)", "abs": "abs(mean)"}.get(function, f'{function}(" Paris")')


def _shown(text: str) -> str:
    return repr(text if len(text) <= _MOST_SHOWN else f"{text[: _MOST_SHOWN - 1]}…")

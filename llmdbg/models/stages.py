"""The stage vocabulary: the places where generation can stop, and what each is called.

Everything that names a stage (anatomy, engine, breakpoints, front ends) uses these values and no others.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from functools import lru_cache


class StageKind(StrEnum):
    """What sort of place a stage is."""

    TOKENIZE = "tokenize"
    EMBED = "embed"
    LAYER = "layer"
    MODULE = "module"
    NORM = "norm"
    LOGITS = "logits"
    PROCESSOR = "processor"
    SAMPLE = "sample"
    LINE = "line"
    """A line of a forward's source that is about to run."""
    OP = "op"
    """A single aten call."""
    GRADIENT = "grad"
    """The gradient with respect to what a module returned, or to a parameter. It is computed in backward."""


class Phase(StrEnum):
    """`prefill`: the whole prompt in one forward pass. `decode`: one token per forward pass. `backward`: gradients."""

    PREFILL = "prefill"
    DECODE = "decode"
    BACKWARD = "backward"


@dataclass(frozen=True, slots=True)
class Stage:
    """One place where generation can stop."""

    kind: StageKind
    """What sort of place it is."""
    address: str
    """How a person names it: `embed`, `12`, `12.self_attn.q_proj`, `sample.top_p`, `12.self_attn:174`,
    `12.self_attn/_softmax.0`, `12.mlp.grad`."""
    module: str | None = None
    """The dotted path in the module tree; None for a stage that no module runs. Of a line or an op, the innermost
    module that was running."""
    layer: int | None = None
    """The number of the decoder layer it belongs to, from 0; None outside the layers."""
    depth: int = 1
    """1 for the stages of the outline (tokenize, embed, layers, norm, logits, processors, sample), one more for each
    module around it."""

    @property
    def is_fine(self) -> bool:
        """Whether no module runs it, and which there are is only known by running: a line, an op or a gradient."""
        return self.kind in FINE


TOKENIZE = Stage(StageKind.TOKENIZE, "tokenize")
SAMPLE = Stage(StageKind.SAMPLE, "sample")
ANY_PROCESSOR = Stage(StageKind.PROCESSOR, "sample.*")
"""Stands for every logits processor: which ones there are depends on the sampling settings."""


FINE = (StageKind.LINE, StageKind.OP, StageKind.GRADIENT)
"""The stages that are finer than modules, or come after them. Which there are is only known by running them."""

WHOLE_MODEL = "forward"
"""Stands for the module of the whole model, whose path is empty, in the addresses of its lines and ops."""

ANY_LINE = Stage(StageKind.LINE, "*:*")
ANY_OP = Stage(StageKind.OP, "*/*")
"""Stand for every line and every op: which ones there are depends on the code that runs."""

ANY_GRADIENT = Stage(StageKind.GRADIENT, "*.grad")
"""Stands for every gradient: which ones there are depends on what is trained."""

LOSS = "loss"
"""What a model returns as its loss, in the address of its gradient: `loss.grad`."""

_GRADIENT = ".grad"
LOSS_GRADIENT = Stage(StageKind.GRADIENT, f"{LOSS}{_GRADIENT}")
"""Where backward begins."""
_LINE = re.compile(r"(?P<module>[^:/]+):(?P<line>\d{1,9}|\*)")
_OP = re.compile(r"(?P<module>[^:/]+)/(?P<name>[^:/.]+)(\.(?P<number>\d{1,9}))?")


def line_address(module: str, line: int | str) -> str:
    """The address of a line of a module's source file, or of all if `line` is `*`: `12.self_attn:174`."""
    return f"{module}:{line}"


def op_address(module: str, name: str, number: int | None = None) -> str:
    """The address of the `number`-th such op of one call of a module, from 0; of all of them if None.

    `12.self_attn/_softmax.0`, `12.self_attn/_softmax`.
    """
    return f"{module}/{name}" if number is None else f"{module}/{name}.{number}"


def line_parts(address: str) -> tuple[str, str] | None:
    """The module and the line (`*` for every) of a line's address; None for any other."""
    found = _LINE.fullmatch(address)
    return None if found is None else (found["module"], found["line"])


def op_parts(address: str) -> tuple[str, str, str | None] | None:
    """The module, the name and the number (None for every) of an op's address; None for any other."""
    found = _OP.fullmatch(address)
    return None if found is None else (found["module"], found["name"], found["number"])


def gradient_address(of: str) -> str:
    """The address of the gradient with respect to a module's output or a parameter: `12.mlp.grad`."""
    return f"{of}{_GRADIENT}"


def gradient_of(address: str) -> str | None:
    """The module or the parameter in the address of its gradient; None for any other."""
    of = address.removesuffix(_GRADIENT)
    return of if of and of != address and not re.search("[:/]", of) else None


@lru_cache(maxsize=64)
def gradients_among(addresses: frozenset[str]) -> frozenset[str]:
    """Those that name gradients."""
    return frozenset(each for each in addresses if gradient_of(each) is not None)


@lru_cache(maxsize=64)
def fine_among(addresses: frozenset[str]) -> frozenset[str]:
    """Those that name lines or ops."""
    return frozenset(
        each for each in addresses if (":" in each and line_parts(each)) or ("/" in each and op_parts(each))
    )


@lru_cache(maxsize=1 << 16)
def reaches(addresses: frozenset[str], address: str) -> bool:
    """Whether one of `addresses` is a stage's or, of a line or an op, names it among others.

    `*` stands for every module, every line, and any part of an op's name, whose leading underscores need not be typed.
    """
    if address in addresses:
        return True
    if gradient_of(address) is not None:
        return ANY_GRADIENT.address in addresses
    if line := line_parts(address):
        return not addresses.isdisjoint((line_address(line[0], "*"), ANY_LINE.address))
    if op := op_parts(address):
        return any(_names_op(wanted, op) for each in addresses if "/" in each and (wanted := op_parts(each)))
    return False


def _names_op(wanted: tuple[str, str, str | None], op: tuple[str, str, str | None]) -> bool:
    module, pattern, number = wanted
    in_module = module in ("*", op[0]) and number in (None, op[2])
    return in_module and (fnmatchcase(op[1], pattern) or fnmatchcase(op[1].lstrip("_"), pattern))

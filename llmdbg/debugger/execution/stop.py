"""A stop as front ends see it: frozen values, no tensors."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePath
from typing import TYPE_CHECKING

from llmdbg.display import Displayed, short
from llmdbg.explain.endings import why_ended
from llmdbg.formatting import counted, percent

if TYPE_CHECKING:
    from llmdbg.models.stages import Phase, Stage
    from llmdbg.models.tokens import Token
    from llmdbg.probes.candidates import Candidates, ChosenToken
    from llmdbg.probes.quantities import QuantityValue
    from llmdbg.probes.statistics import Statistics


class Reason(StrEnum):
    """Why the run stopped."""

    STEP = "step"
    BREAKPOINT = "breakpoint"
    TRACEPOINT = "tracepoint"
    WATCH = "watch"
    EXCEPTION = "exception"
    END = "end"


@dataclass(frozen=True, slots=True)
class NamedTensor:
    """One of several tensors that a stage took or returned."""

    name: str
    """What the model calls it, or its number: `router_indices`, `attention_mask`, `position_embeddings.0`."""
    shape: tuple[int, ...]
    """Its shape."""
    dtype: str
    """Its dtype, without `torch.`."""
    device: str
    """Its device, as torch names it."""


class ComparedBy(StrEnum):
    """What of a reference a stop was compared with."""

    VALUES = "values"
    """Its values themselves."""
    FINGERPRINT = "fingerprint"
    """What a recording keeps of each position: the distance is an estimate."""
    STATISTICS = "statistics"
    """What a recording keeps of the whole: the distance is the least that these allow."""


@dataclass(frozen=True, slots=True)
class CodeLine:
    """The source line of a stop at a line or at an op."""

    file: str
    """The path of the source file; empty if no Python source called the op."""
    line: int
    """The line, from 1."""
    function: str
    """The qualified name of the function: `LlamaAttention.forward`."""
    text: str
    """The line's text without the white space around it; empty if the file cannot be read."""
    operation: str = ""
    """The op with its overload, `aten._softmax.default`; empty for a line."""

    @property
    def where(self) -> str:
        """The file's name and the line: `modeling_llama.py:174`; empty if there is no file."""
        return f"{PurePath(self.file).name}:{self.line}" if self.file else ""


@dataclass(frozen=True, slots=True)
class BesideReference:
    """How a stop compares with the run that stands beside it."""

    name: str
    """What the user called the reference."""
    apart: float | None
    """The L2 norm of the difference of what the stage returned, over that of the reference's; None if it is lost."""
    by_itself: float | None
    """The same with the stage run on the reference's input; None for a stage that cannot be run by itself."""
    equal: bool
    """Whether all bits are equal."""
    by: ComparedBy = ComparedBy.VALUES
    """What of the reference it was compared with."""
    lost: str = ""
    """Why nothing can be compared with the reference any more, in a line; empty if it can."""


@dataclass(frozen=True, slots=True, repr=False)
class Stop(Displayed):
    """The run is suspended after a stage."""

    reason: Reason
    """Why it stopped."""
    breakpoint: int | None
    """The number of the breakpoint, tracepoint or watch that was hit; None if none was."""
    token: int
    """The generated token being produced, counted from 0; the prefill produces token 0."""
    phase: Phase
    """Prefill or decode."""
    stage: Stage
    """The stage that has just run."""
    tensor: Statistics | None
    """Statistics of its output; None if that holds no tensor."""
    candidates: Candidates | None
    """The likeliest next tokens; None before the logits."""
    chosen: ChosenToken | None
    """The token that was chosen; None before `sample`."""
    ms: float | None
    """Milliseconds that the stage took, without time spent suspended; None if not measured."""
    ended_by: str | None
    """Why the generation ends here: `eos`, `stop_string`, `criterion`, `length`, `time` or `context`; None if it does
    not."""
    values: tuple[tuple[str, QuantityValue], ...] = ()
    """Name and value of what a tracepoint logged, or a watch's `before` and `now`."""
    why: str = ""
    """What the breakpoint's condition found: `entropy 0.83 < 1`, `nonfinite: weight[123,45] = inf`; empty if it has
    none. The exception, where one is on its way out of the stage."""
    differs: bool = False
    """Whether a token that was run again did not come out bitwise the same."""
    not_finite_since: int | None = None
    """The first token whose raw or processed logits gave no probabilities (NaN, inf, all -inf); else None."""
    ended_with: str | None = None
    """The stop string that is complete, or the class of the stopping criterion that is met; None otherwise."""
    returns: tuple[NamedTensor, ...] = ()
    """Every tensor that the stage returned, if there are several; `tensor` describes the first."""
    takes: tuple[NamedTensor, ...] = ()
    """Every tensor among its arguments, if there are several, or if the stage is an op. At an exception, those that the
    line uses."""
    code: CodeLine | None = None
    """Of a line or an op, the source line; at an exception, the line that failed; where a program stops itself,
    the line that does; None elsewhere."""
    reordered: tuple[int, ...] = ()
    """At `sample`, the row of the batch that each row continues, in a program that reorders its rows; else none."""
    lane: int | None = None
    """The row of the batch that `tensor`, `candidates` and `chosen` are about, from 0; None where they are about all
    rows, and where there is one."""
    beside: BesideReference | None = None
    """How it compares with the reference; None if no run stands beside this one, or if the two cannot be compared."""
    unequal: tuple[str, ...] = ()
    """What should be equal on all ranks and is not, in sentences, the nearest to the cause first."""
    layout: str = ""
    """How its output lies on the ranks, in words: `split over axis 2`; empty in one process, and without a tensor."""
    rank: int | None = None
    """The rank whose own part of it `tensor`, `candidates` and `chosen` are about; None where they are about all of
    it."""

    def __repr__(self) -> str:
        number = "" if self.breakpoint is None else f" {self.breakpoint}"
        ended = "" if self.ended_by is None else f" ({self.ended_by})"
        place = f"{self.stage.address}@{self.token} {self.phase}, {self.reason}{number}{ended}"
        place += "".join(f" {name}={short(value)}" for name, value in self.values)
        place += ", run again and not the same" if self.differs else ""
        place += f", {self.unequal[0]}" if self.unequal else ""
        if self.chosen is not None:
            what = f": chose {self.chosen.text!r} {percent(self.chosen.prob)}, rank {self.chosen.rank or 'unknown'}"
        elif self.candidates is not None:
            what = f": {self.candidates.likeliest()}"
        else:
            what = "" if self.tensor is None else f": {self.tensor.line()}"
        if self.code is not None and self.code.where:
            what += f" at {self.code.where}"
        return f"<Stop {place}{what}>"


@dataclass(frozen=True, slots=True, repr=False)
class End(Displayed):
    """A generation is over."""

    stopped_by: str
    """`eos`, `stop_string`, `criterion`, `length` (the end of the context included), `time`, `quit`, `recording`,
    or of a program `exit`."""
    ids: tuple[int, ...]
    """The generated ids."""
    text: str
    """Those ids decoded, without special tokens."""
    at_context_end: bool = False
    """Whether it ended because the model's context is full."""
    not_finite_since: int | None = None
    """The first token whose raw or processed logits gave no probabilities (NaN, inf, all -inf); None if all did."""
    notes: tuple[str, ...] = ()
    """Where `generate()` by itself would have decoded differently, and what else to know, in sentences."""
    ended_with: str | None = None
    """The stop string that is complete, or the class of the stopping criterion that is met; None otherwise."""

    @property
    def why(self) -> str:
        """Why it ended, as a clause."""
        return why_ended("context" if self.at_context_end else self.stopped_by, self.ended_with)

    def __repr__(self) -> str:
        what = "" if self.ended_with is None else f" {self.ended_with!r}"
        return f"<End {self.stopped_by}{what}, {counted(len(self.ids), 'token')}: {short(self.text)}>"


@dataclass(frozen=True, slots=True, repr=False)
class TokenRow(Displayed):
    """One token of the sequence."""

    index: int
    """Its position in the sequence, from 0."""
    id: int
    """Its id in the vocabulary."""
    piece: str
    """The tokenizer's own spelling of it."""
    text: str
    """Its text."""
    special: bool
    """Whether it is a special token."""
    generated: int | None
    """Its number among the generated tokens, from 0; None in the prompt."""

    @classmethod
    def of(cls, index: int, token: Token, generated: int | None = None) -> TokenRow:
        """A token at position `index`; `generated` is its number among the generated ones, None in the prompt."""
        return cls(index, token.id, token.piece, token.text, token.special, generated)

    def __repr__(self) -> str:
        generated = "" if self.generated is None else f", generated {self.generated}"
        return f"<TokenRow {self.index} {self.text!r} id {self.id}{generated}>"

"""What `json_fields.py` writes, as types: a field with a default may be missing. JSON Schemas are made of these.

Each class stands for the JSON of another type, which it names. The tests hold what is written against them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from llmdbg.debugger.comparison.outcome import ComparedStage
from llmdbg.models.stages import Phase, StageKind


@dataclass(frozen=True, slots=True)
class TokenFields:
    """One token of the sequence."""

    index: int
    """Its position in the sequence, from 0."""
    id: int
    """Its id in the vocabulary."""
    text: str
    """What it stands for in the text."""
    piece: str
    """How the vocabulary spells it."""
    special: bool
    """Whether it is a special token."""


@dataclass(frozen=True, slots=True)
class TokenTableFields:
    """The whole sequence so far: the prompt and what was generated."""

    tokens: tuple[TokenFields, ...]
    """Its tokens, in order."""
    notes: tuple[str, ...]
    """What there is to know about it, in sentences."""


@dataclass(frozen=True, slots=True)
class StageFields:
    """A place where generation can stop."""

    kind: StageKind
    """What kind of stage."""
    address: str
    """How commands name it: `12`, `12.mlp.down_proj`, `logits`."""
    module: str | None
    """The dotted path of its module in the model; null if it is none."""
    layer: int | None
    """The number of its decoder layer, from 0; null outside the layers."""
    depth: int
    """How deep it is nested: 1 for a layer, 2 for a module in it."""


@dataclass(frozen=True, slots=True)
class StatisticsFields:
    """Statistics of values, in float32; null where they could not be computed."""

    min: float | None
    """The smallest value."""
    max: float | None
    """The largest value."""
    mean: float | None
    """The mean of those that are finite."""
    std: float | None
    """The population standard deviation of those that are finite."""
    norm: float | None
    """The L2 norm."""
    nan: int | None
    """How many values are NaN."""
    inf: int | None
    """How many values are infinite."""


@dataclass(frozen=True, slots=True)
class FocusFields(StatisticsFields):
    """Statistics of the vector at the focus position."""

    position: int | None
    """The position in the sequence, from 0."""


@dataclass(frozen=True, slots=True)
class TensorFields(StatisticsFields):
    """What a stage returned: its shape, and statistics over the whole tensor."""

    shape: tuple[int, ...]
    """Its shape."""
    dtype: str
    """Its dtype, without `torch.`."""
    device: str
    """Its device."""
    focus: FocusFields | None
    """Statistics of the focus position's vector; null if the tensor has no positions."""
    cut: int | None = None
    """At a logits processor: how many tokens have been cut so far."""
    in_play: StatisticsFields | None = None
    """At a logits processor: statistics of the logits that have not been cut."""


@dataclass(frozen=True, slots=True)
class PathFields:
    """A candidate's logit after one processor."""

    stage: str
    """The address of `logits` or of the processor."""
    logit: float
    """Its logit there."""
    prob: float
    """Its probability there."""


@dataclass(frozen=True, slots=True)
class CandidateFields:
    """One of the likeliest next tokens."""

    rank: int
    """Its rank, from 1."""
    id: int
    """Its id in the vocabulary."""
    text: str
    """What it stands for in the text."""
    logit: float
    """Its logit."""
    prob: float
    """Its probability, from 0 to 1."""
    cut_by: str | None
    """The address of the processor that cut it; null if none has."""
    path: tuple[PathFields, ...]
    """Its logit and probability at `logits` and after each processor so far."""
    raw_rank: int | None
    """Its rank before any processor."""
    fell_at: str | None
    """The address of the processor where it lost the first rank; null if it did not."""


@dataclass(frozen=True, slots=True)
class CandidatesFields:
    """The likeliest next tokens, at the logits and at each processor."""

    candidates: tuple[CandidateFields, ...]
    """The likeliest tokens, best first."""
    entropy: float
    """The entropy of the distribution, in nats."""
    left: int
    """How many tokens can still be chosen."""
    cut: dict[str, int]
    """How many tokens each processor has cut, by its address."""
    former_leaders: tuple[CandidateFields, ...]
    """Tokens that were the likeliest before a processor changed that."""


@dataclass(frozen=True, slots=True)
class ChosenFields:
    """The token that was chosen."""

    id: int
    """Its id in the vocabulary."""
    text: str
    """What it stands for in the text."""
    prob: float | None
    """Its probability; null if that is not known."""
    rank: int | None
    """Its rank among the candidates; null if that is not known."""


@dataclass(frozen=True, slots=True)
class SourceFields:
    """The source line of a stop."""

    file: str
    """The path of the source file; empty if there is none."""
    line: int
    """The line, from 1."""
    function: str
    """The qualified name of the function."""
    text: str
    """The line's text."""
    operation: str = ""
    """The op with its overload: `aten._softmax.default`."""


@dataclass(frozen=True, slots=True)
class NamedTensorFields:
    """One of several tensors that a stage took or returned."""

    name: str
    """What the model calls it, or its number."""
    shape: tuple[int, ...]
    """Its shape."""
    dtype: str
    """Its dtype, without `torch.`."""
    device: str
    """Its device."""


@dataclass(frozen=True, slots=True)
class BesideFields:
    """How a stop compares with the run that stands beside this one."""

    reference: str
    """What the user called that run."""
    apart: float | None
    """The L2 norm of the difference over that of the reference's; null if it is lost."""
    by_itself: float | None
    """The same with the stage run on the reference's input; null if it cannot be."""
    equal: bool
    """Whether all bits are equal."""
    by: str
    """What was compared: `values`, `fingerprint` or `statistics`."""
    lost: str = ""
    """Why nothing can be compared any more."""


@dataclass(frozen=True, slots=True)
class StopFields:
    """The run is suspended after a stage."""

    reason: str
    """Why it stopped: step, breakpoint, tracepoint, watch, exception or end."""
    breakpoint: int | None
    """The number of the breakpoint, tracepoint or watch that was hit; null if none was."""
    token: int
    """The generated token being produced, from 0; the prefill produces token 0."""
    phase: Phase
    """prefill (the prompt in one forward) or decode (one token a forward)."""
    stage: StageFields
    """The stage that has just run."""
    tensor: TensorFields | None
    """What it returned; null if that holds no tensor."""
    ms: float | None
    """Milliseconds that it took; null if not measured."""
    lane: int | None = None
    """The row of the batch that it is about; missing where it is about all of them."""
    rank: int | None = None
    """The rank whose own part the numbers are about; missing where they are about whole values."""
    layout: str = ""
    """On several ranks, how what it returned lies on them."""
    reordered: tuple[int, ...] = ()
    """At `sample`, the row of the batch that each row continues, where rows are reordered."""
    unequal: tuple[str, ...] = ()
    """What should be equal on all ranks and is not, in sentences."""
    candidates: tuple[CandidateFields, ...] = ()
    """At the logits and at processors: the likeliest tokens, best first."""
    entropy: float | None = None
    """The entropy of their distribution, in nats."""
    left: int | None = None
    """How many tokens can still be chosen."""
    cut: dict[str, int] = field(default_factory=dict)
    """How many tokens each processor has cut, by its address."""
    former_leaders: tuple[CandidateFields, ...] = ()
    """Tokens that were the likeliest before a processor changed that."""
    chosen: ChosenFields | None = None
    """At `sample`: the token that was chosen."""
    values: dict[str, Any] = field(default_factory=dict)
    """What a tracepoint logged, or a watch's `before` and `now`, by name."""
    why: str = ""
    """What the breakpoint's condition found; at an exception, the exception."""
    source: SourceFields | None = None
    """The source line, at a line, an op or an exception."""
    takes: tuple[NamedTensorFields, ...] = ()
    """Every tensor among its arguments, if there are several."""
    beside: BesideFields | None = None
    """How it compares with the run beside this one."""
    differs: bool = False
    """Present if a token that was run again did not come out bitwise the same."""
    returns: tuple[NamedTensorFields, ...] = ()
    """Every tensor that it returned, if there are several."""
    ended_by: str | None = None
    """Why the generation ends here."""
    ended_with: str | None = None
    """The stop string or the stopping criterion that ended it."""
    not_finite_since: int | None = None
    """The first token whose logits gave no probabilities."""


@dataclass(frozen=True, slots=True)
class BreakpointFields:
    """A breakpoint, a tracepoint or a watch."""

    number: int
    """Its number, which `delete`, `condition` and others take."""
    address: str
    """The address it was set at, as typed."""
    stages: tuple[str, ...]
    """The addresses of all stages that it names."""
    token: int | None
    """The only token it stops at; null for every token."""
    phase: Phase | None
    """The only phase it stops in; null for both."""
    temporary: bool
    """Whether its first hit deletes it."""
    enabled: bool
    """Whether it is on."""
    hits: int
    """How often it was hit."""
    kind: str
    """break, trace or watch."""
    condition: str | None
    """Its condition; null if it has none."""
    expressions: tuple[str, ...]
    """What a tracepoint logs, or what a watch compares."""
    ignore: int
    """How many of the next hits pass without effect."""
    commands: tuple[str, ...]
    """The command lines that run when it stops."""
    commands_off: tuple[str, ...]
    """Those of them that came from a file and are off."""


@dataclass(frozen=True, slots=True)
class EditFields:
    """An edit of what a stage returns."""

    number: int
    """Its number."""
    edit: str
    """As it was typed."""
    does: str
    """What it does, in words."""
    stages: tuple[str, ...]
    """The addresses of the stages that it changes."""
    since: int
    """The first token that it applies to."""
    token: int | None
    """The only token it applies to; null for all since then."""
    enabled: bool
    """Whether it is on."""


@dataclass(frozen=True, slots=True)
class PlaceFields:
    """A place of a run."""

    address: str
    """The stage's address."""
    token: int
    """The generated token, from 0."""


@dataclass(frozen=True, slots=True)
class BranchFields:
    """A branch of the run."""

    number: int
    """Its number."""
    name: str
    """Its name."""
    parent: int | None
    """The number of the branch it forked from; null for the first."""
    fork: int
    """The first generated token of its own."""
    why: str
    """What made it fork."""
    current: bool
    """Whether it is the one that runs."""
    at: PlaceFields
    """Where it stands."""
    ids: tuple[int, ...]
    """Its generated ids."""
    text: str
    """Its generated text."""


@dataclass(frozen=True, slots=True)
class CommandFields:
    """A command, as `help` lists it."""

    name: str
    """Its name; a unique beginning of it is enough."""
    aliases: tuple[str, ...]
    """Its other names."""
    usage: str
    """How it is written: words in capitals stand for arguments, brackets for what may be left out."""
    summary: str
    """What it does."""
    example: str
    """A line that is valid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedStageFields(ComparedStage):
    """One stage in both runs. Errors are L2 norms of differences over the reference's norm, over all tokens."""

    times_floor: float | None
    """The isolated error over the floor; null without either."""

"""What a comparison of two runs found, as frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from llmdbg.display import Displayed


class Verdict(StrEnum):
    """How two runs compare."""

    SAME = "same"
    """Every value is bitwise the same."""
    WITHIN_ARITHMETIC = "same within the arithmetic"
    """Values differ, but no stage differs by more than its own rounding."""
    DIVERGED = "diverged"
    """A stage, the input or a setting differs by more than rounding explains."""


class FindingKind(StrEnum):
    """What sort of difference a finding is, in the order in which they are looked for."""

    INPUT = "input"
    """Other token ids, or another text before tokenizing."""
    SETTINGS = "settings"
    """Other generation settings."""
    MODEL = "model"
    """Another model altogether: most of its weights are others."""
    POSITIONS = "positions"
    """Other position ids reach a stage."""
    MASK = "mask"
    """Another attention mask reaches a stage."""
    EDIT = "edit"
    """An edit of a branch changes what a stage returns."""
    WEIGHTS = "weights"
    """Weights that differ by more than their dtype's rounding."""
    FUNCTION = "function"
    """Another function: it differs with the same weights, in float64 too."""
    ARITHMETIC = "arithmetic"
    """The same function in float64, but further off in the candidate's dtype than its rounding explains."""
    NONFINITE = "nonfinite"
    """NaN or infinite where the reference is finite."""
    FAILED = "failed"
    """The candidate's forward fails where the reference's does not."""


@dataclass(frozen=True, slots=True, repr=False)
class Finding(Displayed):
    """One difference that rounding does not explain."""

    kind: FindingKind
    """What sort of difference it is."""
    address: str
    """The stage: `12.self_attn.k_proj`; `tokenize` for the input, `sample` for settings."""
    sentence: str
    """What differs there, in a sentence without a full stop."""
    isolated: float | None = None
    """The stage's isolated error, relative; None where nothing was measured."""
    times_floor: float | None = None
    """The isolated error over the stage's floor; None without one."""

    def __repr__(self) -> str:
        return f"<Finding {self.kind}: {self.address}: {self.sentence}>"


@dataclass(frozen=True, slots=True)
class ComparedStage:
    """One stage in both runs. Errors are L2 norms of differences over the reference's norm, over all tokens."""

    address: str
    """The stage."""
    layer: int | None
    """Its decoder layer; None outside the layers."""
    depth: int
    """1 for the outline, one more for each module around it."""
    accumulated: float | None
    """Candidate against reference, each on its own way there; None if not compared."""
    isolated: float | None
    """The candidate's stage on the reference's input; None if not measured."""
    floor: float | None
    """What rounding does to that stage in the dtypes of both runs; None if not measured."""
    function: float | None
    """As `isolated`, in float64 and with the reference's weights where the two differ by rounding alone."""
    equal: bool
    """Whether all bits were equal in the accumulated run."""
    first_token: int | None
    """The first generated token in which bits differ; None if none does."""
    by_token: tuple[float | None, ...] = ()
    """The accumulated error at each generated token, of a stage at depth 1; empty at others."""

    @property
    def times_floor(self) -> float | None:
        """The isolated error over the floor; None without either."""
        if self.isolated is None or not self.floor:
            return None
        return self.isolated / self.floor


@dataclass(frozen=True, slots=True)
class TokenPair:
    """The token chosen by each run."""

    reference: int | None
    """The reference's id; None if it had ended."""
    candidate: int | None
    """The candidate's id; None if it had ended."""
    reference_text: str
    """The reference's token as text."""
    candidate_text: str
    """The candidate's token as text."""


@dataclass(frozen=True, slots=True)
class TokenChances:
    """How likely a token was in each run, after all processors, 0 to 1."""

    id: int
    """Its id."""
    text: str
    """Its text, in the vocabulary of the run that has it among its likeliest."""
    reference: float | None
    """Its probability in the reference; None if its vocabulary has no such id."""
    candidate: float | None
    """Its probability in the candidate; None if its vocabulary has no such id."""


@dataclass(frozen=True, slots=True, repr=False)
class Parting(Displayed):
    """Where two texts part."""

    token: int
    """The first generated token that differs, counted from 0."""
    pair: TokenPair
    """What each chose there."""
    margin: float | None
    """By how many nats the reference prefers its token over the candidate's, after all processors; None if unknown."""
    near_tie: bool
    """Whether that is less than the scores of the two runs differ by."""
    candidates: tuple[TokenChances, ...] = ()
    """The likeliest tokens there, of both runs, the reference's likeliest first; empty if one of them had ended."""

    def __repr__(self) -> str:
        margin = "" if self.margin is None else f", margin {self.margin:.2g} nats"
        return f"<Parting at token {self.token}: {self.pair.reference_text!r} or {self.pair.candidate_text!r}{margin}>"


class SpanKind(StrEnum):
    """What becomes of some of the reference's tokens in the candidate."""

    SAME = "same"
    """The candidate has them too."""
    CHANGED = "changed"
    """The candidate has others."""
    INSERTED = "inserted"
    """The candidate has some where the reference has none."""
    DELETED = "deleted"
    """The candidate has none."""


@dataclass(frozen=True, slots=True)
class AlignedSpan:
    """Tokens of both runs that stand side by side."""

    part: str
    """`prompt` or `generated`."""
    kind: SpanKind
    """How they compare."""
    reference: tuple[int, int]
    """The first of the reference's tokens, counted from 0 behind any padding, and the first after them."""
    candidate: tuple[int, int]
    """The same of the candidate."""
    reference_text: str
    """The reference's tokens as text; one without a text as its id in angle brackets."""
    candidate_text: str
    """The candidate's, likewise."""


@dataclass(frozen=True, slots=True)
class Shares:
    """How much of the difference of the final logits goes away when stages' own errors are taken back, 0 to 1."""

    first: float
    """Those of the first stage that differs by itself."""
    together: float | None
    """Those of all stages that do; None if not measured."""


@dataclass(frozen=True, slots=True, repr=False)
class Bisection(Displayed):
    """The smallest set of stages found without whose own errors the candidate answers as the reference does.

    The answer is the token where the texts part; where they do not, it is repaired if the error of the logits falls to
    a tenth or less. Errors of the logits are relative: at that token, or over all tokens.
    """

    stages: tuple[str, ...]
    """In the order in which they run; empty if there is nothing to repair, or if no stages repair it."""
    sentence: str
    """What was found, in a sentence."""
    runs: int
    """How many times the candidate was run for it."""
    complete: bool = True
    """Whether none of the stages can be left out; False if the search was ended by the most runs allowed."""
    token: int | None = None
    """The generated token where the texts part; None if the error of the logits is what is repaired."""
    before: str = ""
    """The token that the candidate chooses there, as text."""
    after: str = ""
    """The token that it chooses with the stages repaired, as text."""
    error_before: float | None = None
    """The error of the logits as they are; None if it cannot be measured."""
    error_after: float | None = None
    """The error with the stages repaired; None if it cannot be measured, or if there are none."""

    def __repr__(self) -> str:
        return f"<Bisection: {self.sentence}>"


@dataclass(frozen=True, slots=True)
class SideFacts:
    """One of the two runs, for headers."""

    name: str
    """The model, or the recording."""
    place: str
    """Device and dtype: `cpu float32`."""
    attn: str
    """The attention implementation."""
    prompt: tuple[int, ...]
    """The prompt's ids."""
    ids: tuple[int, ...]
    """The generated ids."""
    text: str
    """The generated text."""
    prompt_text: str = ""
    """What was cut into the prompt's tokens, after the chat template."""
    tokens: tuple[str, ...] = ()
    """Each generated token as text."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """The versions of the libraries that ran it, by name."""
    prompt_tokens: tuple[str, ...] = ()
    """Each token of the prompt as text; empty if not known."""
    padding: int = 0
    """How many tokens of the prompt are left padding."""


@dataclass(frozen=True, slots=True, repr=False)
class Comparison(Displayed):
    """What `diff` found."""

    reference: SideFacts
    """The run that is taken for right."""
    candidate: SideFacts
    """The run that is held against it."""
    verdict: Verdict
    """How they compare."""
    sentence: str
    """The verdict in a sentence."""
    findings: tuple[Finding, ...]
    """Every difference that rounding does not explain, in the order of a run; the first is the one to look at."""
    stages: tuple[ComparedStage, ...]
    """Every stage in the order in which the reference ran them."""
    parting: Parting | None
    """Where the texts part; None if they do not."""
    shares: Shares | None
    """How much of the final difference the stages' own errors are; None if not measured."""
    notes: tuple[str, ...] = ()
    """What could not be compared, and why, a sentence each."""
    bisection: Bisection | None = None
    """Which stages repair the answer; None if that was not asked for."""
    alignment: tuple[AlignedSpan, ...] = ()
    """Prompt and generated tokens of both, side by side; empty if all are the same."""

    @property
    def first(self) -> Finding | None:
        """The first finding; None if there is none."""
        return self.findings[0] if self.findings else None

    def __repr__(self) -> str:
        return f"<Comparison: {self.sentence}>"

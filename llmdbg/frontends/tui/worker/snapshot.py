"""Everything that the screen shows at a stop and during a run, as frozen values made on the engine thread."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from llmdbg.debugger.execution.depth import Depth
from llmdbg.debugger.inspection.latest_attention import latest_attention
from llmdbg.engine.debuggee import Capability
from llmdbg.engine.lockstep import HeldByRanks
from llmdbg.frontends.tui.worker.execution_order import prefixes
from llmdbg.frontends.tui.worker.fine_row import ran_in_layer, with_row
from llmdbg.frontends.tui.worker.lane_texts import LaneText, lane_texts
from llmdbg.frontends.unhit_breakpoints import attention_in

if TYPE_CHECKING:
    from llmdbg.debugger.breakpoints.breakpoints import Breakpoint
    from llmdbg.debugger.debugger import Debugger
    from llmdbg.debugger.execution.stop import End, Stop, TokenRow
    from llmdbg.frontends.tui.worker.seen_stages import SeenStages, StageSummary
    from llmdbg.models.stages import Stage


@dataclass(frozen=True, slots=True)
class Unanswered:
    """The answer to a question that raised an exception."""

    message: str
    """Why, in one line: llmdbg's own sentence, or the type and message of any other exception. Not sanitized."""


@dataclass(frozen=True, slots=True)
class RunProgress:
    """How far a run has come since the user started it."""

    tokens: tuple[TokenRow, ...] = ()
    """The tokens chosen since then, in order."""

    probabilities: tuple[float | None, ...] = ()
    """The probability the model gave to each of `tokens`, from 0 to 1; None if it was not recorded."""

    before: tuple[TokenRow, ...] | None = None
    """The sequence that `tokens` follow, where a program has read more or another prompt; else None: the stop's."""

    layer: int = 0
    """During a prefill: how many layers are done."""

    layers: int = 0
    """During a prefill: how many layers there are; 0 while no prefill is reported."""

    opening: str = ""
    """The other run that is being opened, as the user named it; empty while none is."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A stop and everything shown around it."""

    model: str
    """The model's name as the user gave it."""

    place: str
    """The device and dtype of its weights, e.g. `cpu float32`."""

    sampling: str
    """How tokens are chosen, in words; empty before the first run has begun."""

    changed_settings: frozenset[str]
    """Which parts of `sampling`, between its dots, have been changed last; empty if none has."""

    stages: tuple[Stage, ...]
    """Every stage there is, each layer's modules in the order in which they were seen to complete."""

    layers: int
    """How many decoder layers the model has."""

    stop: Stop
    """The current stop."""

    seen: dict[str, StageSummary]
    """What the stops of this token showed, by address."""

    tokens: tuple[TokenRow, ...]
    """Prompt and generated tokens, by position."""

    prompt_length: int
    """How many of `tokens` are the prompt."""

    focus: int
    """The position that the statistics and panes describe."""

    follows: bool
    """Whether the focus is the last position, and moves along with it."""

    limit: int | None
    """The most tokens this run generates; None if unknown."""

    breakpoints: tuple[Breakpoint, ...]
    """All breakpoints, watches and tracepoints, including those that are off."""

    branches: tuple[str, ...]
    """The names of all branches."""

    branch: str
    """The name of the current branch."""

    edits: int
    """How many edits of this branch are switched on."""

    notes: tuple[str, ...]
    """Notes from loading the model and preparing the prompt, a sentence each."""

    answer: str
    """The text generated so far."""

    run_notes: int
    """How many of them are about the loaded model and its decoding, and not about the prompt."""

    end: End | None
    """How the run ended; None before that."""

    goes_back: bool = True
    """Whether the run can be started again, or taken back to an earlier stop."""

    lane: int | None = None
    """The row of the batch that everything is about; None for all of them, and where one sequence runs."""

    lanes: tuple[LaneText, ...] = ()
    """The rows of the batch; none where one sequence runs."""

    attn: str = ""
    """The attention implementation of its model; empty where no model is debugged."""

    ranks: int = 0
    """How many ranks run this model together; 0 in one process."""

    attention: tuple[str, int] = ("", 0)
    """The address of the attention of the current layer, else of the one that ran last, and how many heads it has."""

    attention_named: bool = False
    """Whether the attention pane stays at a layer that the user named, rather than follow the run."""

    switched_on: tuple[tuple[int, str], ...] = ()
    """Number and command line of each edit that is switched on."""

    capabilities: frozenset[Capability] = frozenset(Capability)
    """What the debuggee can do."""

    probabilities: tuple[float | None, ...] = ()
    """The probability the model gave to each generated token, from 0 to 1; None if it was not recorded."""

    order: frozenset[tuple[str, str]] = frozenset()
    """Pairs of modules, by their paths within a layer, of which the first was seen to complete before the second."""

    ordered: frozenset[str] = frozenset()
    """The modules whose order in `stages` was observed; the others are in the order of registration."""

    depth: str = ""
    """What a step goes to, if not to modules: `line` or `op`; else empty."""

    gradients: tuple[str, ...] = ()
    """The addresses of gradients, where the debuggee computes any."""

    local_tensors: tuple[str, ...] = ()
    """At a line or an op, the tensors among the locals of the selected frame, by name."""

    unsaved: str = ""
    """Why the session is not saved; empty if it is."""

    left_out: str = ""
    """Which parts of it are not saved, and why; empty if all are."""

    asked: dict[str, Any] = field(default_factory=dict)
    """The answers to the questions of the panes in view, by the question's name: plain Python, or `Unanswered`."""

    earlier: dict[str, Any] = field(default_factory=dict)
    """The latest answers of earlier looks at the same stop, for panes that come back into view."""

    ran: frozenset[str] = frozenset()
    """At a line or an op, the modules of its layer that are known to have run for this token."""

    @property
    def focused(self) -> TokenRow:
        """The token at the focus position."""
        return self.tokens[min(self.focus, len(self.tokens) - 1)]

    def answer_to(self, question: str) -> Any:
        """The answer to a standing question: of this look, or the latest of an earlier look at the same stop."""
        return self.asked.get(question, self.earlier.get(question))

    def remembering(self, before: Snapshot | None) -> Snapshot:
        """The snapshot with what `before`, an earlier look at the same stop and no command since, had answered.

        A pane that comes back into view then shows what it showed until it is answered again, and not nothing.
        """
        if before is None or not self.same_place(before):
            return self
        return replace(self, earlier={**before.earlier, **before.asked})

    def same_place(self, other: Snapshot) -> bool:
        """Whether both are at the same stage of the same token."""
        return (self.stop.stage, self.stop.token) == (other.stop.stage, other.stop.token)

    def ablated(self, attention: str, head: int) -> int | None:
        """The number of the edit that switches one head off, and nothing else; None if none does."""
        return next((number for number, text in self.switched_on if text == _ablation(attention, head)), None)

    def head_switch(self, attention: str, head: int) -> str:
        """The command that switches a head off, or on again."""
        number = self.ablated(attention, head)
        return _ablation(attention, head) if number is None else f"undo {number}"

    def breakpoint_at(self, address: str) -> Breakpoint | None:
        """The first breakpoint that marks a stage, an enabled one before a disabled one; None if there is none."""
        here = [each for each in self.breakpoints if address in each.target.addresses and each.marks_stages]
        return next((each for each in here if each.enabled), here[0] if here else None)


def _ablation(attention: str, head: int) -> str:
    return f"ablate {attention} heads={head}"


def snapshot(debugger: Debugger, memory: SeenStages, asked: dict[str, Any] | None = None) -> Snapshot:
    """Describe the session's current state."""
    # Only now: it imports torch, which the first frame does not wait for.
    from llmdbg.debugger.inspection.local_values import tensor_names

    debuggee, sampling, stop = debugger.debuggee, debugger.debuggee.sampling, debugger.stop
    chosen_by = "" if sampling is None else sampling.description
    model_notes = () if debuggee.loaded is None else debuggee.loaded.notes
    prompt_length = len(debuggee.prompt.ids)
    first, length = debugger.focus.forward_positions(stop.token)
    last = first + length - 1
    seen = memory.note(stop, debugger.run.trace.order(debugger.run.place))
    memory.note_ran(debugger.compared_here())
    ran = ran_in_layer(debugger, seen)
    return Snapshot(
        model=debuggee.name,
        place=debuggee.place,
        sampling=chosen_by,
        changed_settings=memory.changed_settings(chosen_by),
        seen=seen,
        ran=ran,
        stages=with_row(memory.in_order(debugger.run.stages.all()), stop.stage, ran),
        layers=len(debuggee.anatomy.layers()),
        stop=stop,
        tokens=debugger.run.tokens(),
        prompt_length=prompt_length,
        focus=last if debugger.focus.position is None else debugger.focus.position,
        follows=debugger.focus.position is None,
        limit=None if sampling is None else sampling.limit,
        breakpoints=debugger.breakpoints.list(),
        branches=tuple(each.name for each in debugger.run.branches),
        branch=debugger.run.branches.current.name,
        edits=sum(each.enabled for each in debugger.run.edits.list()),
        notes=(*model_notes, *debuggee.notes, *debuggee.prompt.notes),
        run_notes=len(model_notes) + len(debuggee.notes),
        answer=memory.answer(debugger),
        end=debugger.end,
        goes_back=Capability.GO_BACK in debuggee.capabilities,
        capabilities=frozenset(debuggee.capabilities),
        attention=latest_attention(debugger.inspector),
        attention_named=debugger.inspector.asked.attention.address is not None,
        switched_on=tuple((each.number, each.text) for each in debugger.run.edits.list() if each.enabled),
        probabilities=debugger.run.probabilities(),
        order=memory.order.pairs,
        depth="" if debugger.run.depth is Depth.MODULE else str(debugger.run.depth),
        ordered=frozenset(each for path in memory.order.sequence for each in prefixes(path)),
        asked=asked or {},
        lane=debugger.lane.chosen,
        lanes=lane_texts(debugger),
        attn=attention_in(debugger),
        ranks=debuggee.ranks if isinstance(debuggee, HeldByRanks) else 0,
        gradients=debugger.run.stages.gradients(),
        local_tensors=tensor_names(debugger.inspector),
    )

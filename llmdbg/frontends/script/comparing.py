"""`compare`: two runs held against each other, from Python."""

from __future__ import annotations

import inspect
import os
import shlex
from argparse import Namespace
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from llmdbg.debugger.inspection.branch_differences import generated, side_of
from llmdbg.errors import GenerationError, LlmdbgError, UsageError
from llmdbg.formatting import listed
from llmdbg.frontends.comparison_sides import (
    TOKENS,
    KnownRun,
    check_sides,
    compare_sides,
    load_side,
    options_for_both,
    parse_side,
    recorded_elsewhere,
    recorded_run,
)
from llmdbg.frontends.script import arguments
from llmdbg.frontends.script.loan import borrow, untouched_random_streams
from llmdbg.frontends.script.session import Session, one_line
from llmdbg.models.loading import adopt
from llmdbg.traces.foreign.registry import open_trace

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from llmdbg.debugger.comparison.outcome import Comparison
    from llmdbg.debugger.comparison.side import LiveSide
    from llmdbg.debugger.execution.branches import Branch
    from llmdbg.models.spec import LoadedModel
    from llmdbg.traces.reader import Trace

    Side: TypeAlias = (
        str
        | os.PathLike[str]
        | PreTrainedModel
        | tuple[PreTrainedModel, PreTrainedTokenizerBase | None]
        | Session
        | tuple[Session, str]
    )


def compare(
    reference: Side,
    candidate: Side,
    prompt: str | None = None,
    *,
    chat: bool = False,
    system: str | None = None,
    max_new_tokens: int | None = None,
    greedy: bool = False,
    temperature: float | None = None,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    repetition_penalty: float | None = None,
    seed: int = 0,
    bisect: bool = False,
) -> Comparison:
    """Compare two runs as `llmdbg diff` does. The result shows itself when it is printed, and in a notebook.

    Every argument is checked before anything is loaded. Raises LlmdbgError, in one line: a UsageError for an invalid
    argument, other errors for a model that cannot be loaded and a reference that fails. A candidate that fails is the
    verdict.

    - `reference`: the run that is taken to be right. A model as on the command line, with options of its own
      (`"smollm2 --dtype bfloat16"`); a folder, of a model or of a recording; a loaded transformers model, or a pair of
      one and its tokenizer. Without a tokenizer the prompt's UTF-8 bytes are its ids. A loaded model is in eval mode
      meanwhile, and left as it was. A large one is copied in float64 if memory allows.
      An open session is its current branch, a pair of one and a name that branch, with its edits, forced tokens and
      settings; the session stands where it stood afterwards. `"--session ID --branch NAME"` is one of a saved session.
    - `candidate`: the run that is compared with it; likewise.
    - `prompt`: the text that both read. None takes that of a recording or a session.
    - `chat`: apply each tokenizer's chat template to the prompt. Default False.
    - `system`: a system message for the chat template. None for none.
    - `max_new_tokens`: the most tokens to generate, 1 or more. None for 16, or as many as a recording or a session
      has.
    - `greedy`, `temperature`, `top_k`, `top_p`, `min_p`, `repetition_penalty`, `seed`: how tokens are chosen, as in
      `open_session`.
    - `bisect`: look for the smallest set of stages that repairs the candidate's answer: `Comparison.bisection`. Both
      must be models, and the candidate is run many times more. Default False.
    """
    try:
        both = options_for_both(
            prompt=arguments.optional_text("prompt", prompt),
            chat=arguments.flag("chat", chat),
            system=arguments.optional_text("system", system),
            max_new_tokens=arguments.optional_whole("max_new_tokens", max_new_tokens),
            greedy=arguments.flag("greedy", greedy),
            temperature=arguments.optional_number("temperature", temperature),
            top_k=arguments.optional_whole("top_k", top_k),
            top_p=arguments.optional_number("top_p", top_p),
            min_p=arguments.optional_number("min_p", min_p),
            repetition_penalty=arguments.optional_number("repetition_penalty", repetition_penalty),
            seed=arguments.whole("seed", seed),
        )
        sides = [_Asked("reference", reference, both), _Asked("candidate", candidate, both)]
        bisects = arguments.flag("bisect", bisect)
        live = [each.live for each in sides if each.live is not None]
        if live and (given := _given(both)):
            raise UsageError(f"a session has its own prompt and settings: leave out {listed(given)}")
        check_sides(*(each.options for each in sides if each.live is None), bisects=bisects, has_prompt=bool(live))
        tokens = max_new_tokens or max((each.generated for each in live), default=0) or TOKENS
        with untouched_random_streams(), ExitStack() as undo:
            recordings = [each.recording() for each in sides]
            known = [each.known_run(tokens) for each in live]
            known += [recorded_run(each) for each in recordings if each is not None]
            opened = [
                trace or each.opened(known[0] if known else None, tokens, undo)
                for trace, each in zip(recordings, sides, strict=True)
            ]
            return compare_sides(opened[0], opened[1], lambda _: None, {}, bisects=bisects)
    except LlmdbgError as error:
        error.args = (arguments.in_python(" ".join(str(error).split()), _PARAMETERS, _FLAGS),)
        raise
    except Exception as error:
        raise GenerationError(f"the runs could not be compared: {type(error).__name__}: {one_line(error)}") from error


def _given(both: Namespace) -> list[str]:
    """The names of what the caller says of prompt and settings, beside the number of tokens."""
    usual = vars(options_for_both())
    return [name for name, value in vars(both).items() if name != "max_new_tokens" and value != usual[name]]


@dataclass(frozen=True, slots=True)
class _LiveBranch:
    """A branch of an open session."""

    session: Session
    branch: Branch

    @property
    def generated(self) -> int:
        """How many tokens it has."""
        return generated(self.session.debugger.inspector, self.branch)

    def known_run(self, tokens: int) -> KnownRun:
        """What the other side reads, and how that chooses."""
        settings = replace(self.branch.timeline.settings_at(0), max_new_tokens=tokens)
        return KnownRun(self.session.debugger.debuggee.prompt, asdict(settings), tokens, "the session")

    def opened(self, tokens: int, undo: ExitStack) -> LiveSide:
        """The branch as a side. `undo` brings the session back to where it stands."""
        inspector = self.session.debugger.inspector
        side = side_of(inspector, self.branch, tokens)
        undo.enter_context(inspector.replay.elsewhere())
        return side


class _Asked:
    """One side as the caller gave it. Raises UsageError for anything that is none."""

    def __init__(self, name: str, value: object, both: Namespace) -> None:
        self._model: PreTrainedModel | None = None
        self._tokenizer: PreTrainedTokenizerBase | None = None
        self.live: _LiveBranch | None = None
        if isinstance(value, str | os.PathLike):
            text = value if isinstance(value, str) else shlex.quote(str(Path(value).expanduser().absolute()))
            self.options = parse_side(Namespace(**{**vars(both), name: text}), name)
            return
        self.options = Namespace(**{**vars(both), "recording": None, "saved": None})
        first, second = value if isinstance(value, tuple) and len(value) == 2 else (value, None)
        if isinstance(first, Session):
            self.live = _LiveBranch(first, first.branch(arguments.optional_text(f"the branch of {name}", second)))
            return
        checked = None if first is None else arguments.model_or_name(first, name)
        if checked is None or isinstance(checked, str):
            wanted = "a name, a path, a loaded model, or a pair of one and its tokenizer, or a session"
            raise arguments.refusal(name, wanted, value)
        self._model, self._tokenizer = checked, arguments.optional_tokenizer(second)

    def recording(self) -> Trace | None:
        """The recording, opened; that of a run of another Python; None for a model that runs here."""
        if self.options.python is not None:
            return recorded_elsewhere(self.options)
        return None if self.options.recording is None else open_trace(self.options.recording)

    def opened(self, known: KnownRun | None, tokens: int, undo: ExitStack) -> LiveSide:
        """The model, loaded or borrowed, after its prompt, or the branch of a session. `undo` gives it back."""
        if self.live is not None:
            return self.live.opened(tokens, undo)
        loaded: LoadedModel | None = None
        if self._model is not None:
            loaded = adopt(self._model, self._tokenizer)
            undo.callback(borrow(self._model))
        return load_side(self.options, known, loaded)


_PARAMETERS = inspect.signature(compare).parameters
_FLAGS = frozenset(name for name, each in _PARAMETERS.items() if each.annotation == "bool")

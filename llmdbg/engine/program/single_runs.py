"""A row of a program's batch run by itself, and its batch run again: both as one forward over all that they were fed.

The program's own forward, which is suspended, and its KV cache are not touched. What the model remembers between
forwards, and what hooks on it do, is put back.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from llmdbg.engine.model_memory.hook_state import HookState
from llmdbg.engine.model_memory.module_state import ModuleState
from llmdbg.engine.one_forward import OneForward
from llmdbg.engine.program.lanes import VECTOR, Lanes
from llmdbg.engine.program.outputs import logits_of
from llmdbg.engine.program.padding import ended_by_padding, hidden_ends, marks_of, padding_of
from llmdbg.engine.single_runs import RowAsFed, RowChange, RowScores
from llmdbg.errors import CommandError, UnableError
from llmdbg.models.compiled import notes_on_compiled
from llmdbg.models.module_trees import pretrained_in

if TYPE_CHECKING:
    from torch import Tensor, nn

    from llmdbg.engine.program.given import Given
    from llmdbg.engine.program.padding import Marks

_MOST_SCORES = 2**28
"""How many scores of a batch are computed at most, over all its rows: 1 GiB of float32."""
_TF32, _BF16 = 2.0**-11, 2.0**-9
_WIDE = 4  # bytes
_OF_SUMS = 4.0
_KEPT = "logits_to_keep"


def runs_of(given: Given, lane: int, tokenizer: Any) -> RowRuns:
    """What runs a row of the batch that a forward was given, at a stop in it or after it.

    Waits for the device. Raises UnableError where it is not known what the row was fed.
    """
    known = given.known
    model = next(iter(known.entries))
    if known.sampled is not None:
        raise UnableError("vLLM's requests share one KV cache, and none of them can be run by itself here")
    if notes := notes_on_compiled(model):
        raise UnableError(f"nothing is run again here: {notes[0]}")
    inner = pretrained_in(model)
    config: Any = getattr(inner, "config", None)
    text = config.get_text_config(decoder=True) if hasattr(config, "get_text_config") else config
    marks = marks_of(text, config, getattr(inner, "generation_config", None), tokenizer)
    fed = _Batch(given.lanes, marks, given.length)
    source = _Batch(given.read, marks, 0) if given.is_of_decoder else None
    return RowRuns(given, lane, fed, source)


class _Batch:
    """All rows that a model was fed so far, as its lanes have them."""

    def __init__(self, lanes: Lanes, marks: Marks, length: int) -> None:
        self.lanes = [lanes.lane(at) for at in range(lanes.count())]
        self.total = lanes.length
        self.mask = lanes.mask
        self._marks = marks
        if not self.lanes or any(len(each.ids) < self.total for each in self.lanes):
            raise UnableError("the beginning of its sequence was not seen, so it cannot be run from there")
        # The last token that a program has chosen may be known, and fed to nothing.
        self.lanes = [replace(each, ids=each.ids[: self.total]) for each in self.lanes]
        self.has_vectors = any(VECTOR in each.ids for each in self.lanes)
        if self.has_vectors and length != self.total:
            raise UnableError(
                "it was fed vectors in a forward before this one, which are not kept: ask in the forward of its prompt"
            )
        if not lanes.mask_is_plain():
            raise UnableError("its attention mask does more than hide padding and what comes later: ask without it")
        if self.mask is not None and self.mask.shape != (len(self.lanes), self.total):
            raise UnableError(f"its attention mask covers {self.mask.shape[-1]} positions of {self.total}")

    @property
    def has_places(self) -> bool:
        """Whether position ids were given."""
        return any(each is not None for lane in self.lanes for each in lane.places)

    def ids(self, device: torch.device | None) -> Tensor:
        """(rows, positions)."""
        return torch.tensor([each.ids for each in self.lanes], device=device)

    def places(self, device: torch.device | None) -> Tensor:
        """The position ids (rows, positions); where none was given, what the model counts itself."""
        counted = [[at if given is None else given for at, given in enumerate(each.places)] for each in self.lanes]
        return torch.tensor(counted, device=device)

    def row(self, at: int) -> RowAsFed:
        """What one row was fed."""
        lane = self.lanes[at]
        masks = None if self.mask is None else self.mask.tolist()
        front, behind = self._padding(masks)[at]
        end = self.total - ended_by_padding(lane.ids[lane.prompt :], self._marks)
        own = (*range(front, lane.prompt - behind), *range(lane.prompt, end))
        if front + behind >= lane.prompt:
            raise UnableError(f"lane {at} has no tokens of its own: its prompt is nothing but padding")
        return RowAsFed(
            ids=tuple(None if each == VECTOR else each for each in lane.ids),
            prompt=lane.prompt,
            own=own,
            mask=None if masks is None else tuple(map(bool, masks[at])),
            places=tuple(lane.places),
        )

    def _padding(self, masks: Sequence[Sequence[int]] | None) -> list[tuple[int, int]]:
        prompt = self.lanes[0].prompt
        shown = None if masks is None else [each[:prompt] for each in masks]
        if self.has_vectors:
            return [(0, 0)] * len(self.lanes) if shown is None else hidden_ends(shown)
        return padding_of([each.ids[:prompt] for each in self.lanes], shown, self._marks)


class RowRuns:
    """The `SingleRuns` of one row; `source` is what an encoder has read, for a decoder."""

    def __init__(self, given: Given, lane: int, fed: _Batch, source: _Batch | None) -> None:
        self.lane, self.rows = lane, given.rows
        self._given, self._fed, self._source = given, fed, source
        self._model = next(iter(given.known.entries))
        self._others = given.others()
        if len(fed.lanes) != given.rows or lane >= given.rows:
            raise CommandError(f"there is no lane {lane}: this batch has {len(fed.lanes)}")
        if any(isinstance(each, torch.Tensor) for each in self._others.values()) and given.length != fed.total:
            names = ", ".join(name for name, each in self._others.items() if isinstance(each, torch.Tensor))
            raise UnableError(f"it is given {names} for some of its positions alone: ask in the forward of its prompt")
        self.row = fed.row(lane)
        self._repeats = 1 if source is None else self._rows_of_each(source, given.rows)
        self.read = None if source is None else source.row(lane // self._repeats)
        self.last_bit = max([_last_bit(self._model), *(torch.finfo(each).eps / 2 for each in given.autocast.values())])
        self._training = [each for each in self._model.modules() if each.training]
        self.in_training = bool(self._training)
        notes = ["the model is in training mode: for this it was run without dropout"] if self.in_training else []
        notes += ["its later forwards were given no attention mask: here that of its prompt holds for all"] * (
            given.lanes.mask_is_of_prompt
        )
        self.notes: tuple[str, ...] = tuple(notes)

    @contextmanager
    def undisturbed(self) -> Iterator[None]:
        """Put back, after the `with` block, what the model and the hooks on it remember."""
        hooks, modules = HookState(self._model), ModuleState(self._model)
        hooks.begin()
        if hooks.lost:
            raise UnableError(f"nothing is run again here: what {min(hooks.lost)} remembers could not be put back")
        modules.begin()
        rotary = modules.now()
        for each in self._training:
            each.training = False
        try:
            yield
        finally:
            for each in self._training:
                each.training = True
            modules.restore(rotary)
            for state in (hooks, modules):
                state.end()
                state.begin()

    def can(self, change: RowChange) -> bool:
        """Whether a change of the batch is one for this row, and the model takes what it needs."""
        match change:
            case RowChange.MASK:
                own = self._given.takes(self._mask_name) and not _reads_only_its_own(self.row)
                return own or (self.read is not None and not _reads_only_its_own(self.read))
            case RowChange.POSITIONS:
                return self._given.takes("position_ids")
            case RowChange.ROWS:
                return self.rows > 1
            case RowChange.PADDING:
                return bool(self.row.padding or (self.read is not None and self.read.padding))

    def batch(self, changes: Collection[RowChange] = ()) -> OneForward:
        """The whole batch."""
        if RowChange.PADDING in changes:
            copied = {name: _repeated(each, self.rows) for name, each in self._alone_arguments().items()}
            own = len(self.row.own)
            return self._forward(f"{self.rows} times lane {self.lane}", copied, own - self.row.in_prompt + 1)
        fed, given, device = self._fed, self._given, self._given.device
        last_of_prompt = max(at for at in self.row.own if at < self.row.prompt)
        arguments = dict(self._others)
        arguments[given.fed_as] = given.vectors() if fed.has_vectors else fed.ids(device)
        is_masked = RowChange.MASK in changes and given.takes(self._mask_name)
        if (mask := _mask_of(fed, self.row if is_masked else None, self.lane, device)) is not None:
            arguments[self._mask_name] = mask
        if fed.has_places or RowChange.POSITIONS in changes:
            arguments["position_ids"] = places = fed.places(device)
            if RowChange.POSITIONS in changes:
                places[self.lane] = _counted_from_its_own(self.row, fed.total).to(places)
        if self._source is not None:
            at = self.lane // self._repeats
            mask = _mask_of(self._source, self.read if RowChange.MASK in changes else None, at, device)
            arguments["input_ids"] = self._source.ids(device).repeat_interleave(self._repeats, 0)
            if mask is not None:
                arguments["attention_mask"] = mask.repeat_interleave(self._repeats, 0)
        if RowChange.ROWS in changes:
            arguments = {name: self._copies(each) for name, each in arguments.items()}
        return self._forward(f"the batch of lane {self.lane}", arguments, fed.total - last_of_prompt)

    def alone(self) -> OneForward:
        """The row by itself."""
        scores = len(self.row.own) - self.row.in_prompt + 1
        return self._forward(f"lane {self.lane} by itself", self._alone_arguments(), scores)

    def _alone_arguments(self) -> dict[str, Any]:
        fed, given, device = self._fed, self._given, self._given.device
        own = torch.tensor(self.row.own, device=device)
        arguments = {name: self._own(each, own) for name, each in self._others.items()}
        arguments[given.fed_as] = self._own(given.vectors() if fed.has_vectors else fed.ids(device), own)
        if fed.mask is not None or given.takes(self._mask_name):
            arguments[self._mask_name] = torch.ones(1, len(own), dtype=torch.int64, device=device)
        if fed.has_places:
            arguments["position_ids"] = torch.arange(len(own), device=device)[None]
        if self._source is not None and self.read is not None:
            read = torch.tensor(self.read.own, device=device)
            arguments["input_ids"] = self._source.ids(device)[self.lane // self._repeats][read][None]
            arguments["attention_mask"] = torch.ones(1, len(read), dtype=torch.int64, device=device)
        return arguments

    def scores(self, batch: OneForward, alone: OneForward) -> RowScores | None:
        """What the tokens were chosen from."""
        batched, single = (logits_of(each.output, self._given.known.size) for each in (batch, alone))
        if batched is None or single is None or len(batched) != self._given.rows or len(single) != 1:
            return None
        row, own = self.row, self.row.own
        # Of both, the scores of the last positions alone may be there.
        missing, missing_alone = self._fed.total - batched.shape[1], len(own) - single.shape[1]
        if missing < 0 or missing_alone < 0:
            return None
        first = max(row.in_prompt - 1, missing_alone, sum(at < missing for at in own))
        places = [at - missing for at in own[first:]]
        end = row.prompt - 1
        return RowScores(
            first=first - (row.in_prompt - 1),
            alone=single[0, first - missing_alone :],
            batched=batched[self.lane, places],
            behind_prompt=None if end in own or end < missing else batched[self.lane, end - missing][None],
        )

    @property
    def _mask_name(self) -> str:
        return "decoder_attention_mask" if self._given.is_of_decoder else "attention_mask"

    def _own(self, value: Any, own: Tensor) -> Any:
        """The row's own positions of a tensor (rows, positions, …); anything else is left."""
        return value[self.lane][own][None] if isinstance(value, torch.Tensor) else value

    def _copies(self, value: Any) -> Any:
        """As many copies of the row's part of a tensor (rows, …); anything else is left."""
        return _repeated(value[self.lane][None], self.rows) if isinstance(value, torch.Tensor) else value

    def _rows_of_each(self, source: _Batch, rows: int) -> int:
        if rows % len(source.lanes):
            raise UnableError(f"the encoder read {len(source.lanes)} rows for {rows}: whose each is is not known")
        return rows // len(source.lanes)

    def _forward(self, name: str, arguments: dict[str, Any], scores: int) -> OneForward:
        given = self._given
        if given.takes(_KEPT):
            most = _MOST_SCORES // (given.rows * (given.known.size or 1))
            arguments[_KEPT] = max(1, min(scores, most))
        return OneForward(name, self._model, given.known.anatomy, _call(given, arguments))


def _reads_only_its_own(row: RowAsFed) -> bool:
    """Whether a mask is right: it lets a row read its own tokens, and nothing of its padding."""
    if row.mask is None:
        return not row.padding
    return all(row.mask[at] for at in row.own) and not any(row.mask[at] for at in row.padding)


def _mask_of(fed: _Batch, corrected: RowAsFed | None, at: int, device: torch.device | None) -> Tensor | None:
    """The mask (rows, positions) that a batch was given, with that of row `at` corrected if it is given; else None."""
    if corrected is None:
        return fed.mask
    mask = torch.ones(len(fed.lanes), fed.total, dtype=torch.int64, device=device)
    if fed.mask is not None:
        mask = fed.mask.clone()
    mask[at] = 0
    mask[at, list(corrected.own)] = 1
    return mask


def _counted_from_its_own(row: RowAsFed, total: int) -> Tensor:
    """Position ids (positions) that count a row's own tokens from 0; padding has that of the token before it."""
    own = torch.zeros(total, dtype=torch.int64)
    own[list(row.own)] = 1
    return (own.cumsum(-1) - 1).clamp_min(0)


def _repeated(value: Any, rows: int) -> Any:
    """Copies of a tensor of one row, one for each row; anything else is left."""
    return value.repeat(rows, *[1] * (value.dim() - 1)) if isinstance(value, torch.Tensor) else value


def _call(given: Given, arguments: dict[str, Any]) -> Callable[[], Any]:
    def call() -> Any:
        with ExitStack() as modes:
            modes.enter_context(torch.no_grad())
            for device, dtype in given.autocast.items():
                modes.enter_context(torch.autocast(device, dtype=dtype))
            return given.module(**arguments)

    return call


def _last_bit(model: nn.Module) -> float:
    """What rounding changes as a rule in what a module computes, relative.

    Sums of float32 and wider numbers are kept in that dtype, and their rounding grows with the square root of their
    terms; those of narrower ones are kept in float32, and rounded once.
    """
    floats = [each for each in model.parameters() if each.is_floating_point()]
    terms = max((each.shape[-1] for each in floats if each.dim() > 1), default=1)
    of_sums = max(1.0, terms**0.5 / _OF_SUMS)
    coarsest = max(
        (torch.finfo(each.dtype).eps / 2 * (of_sums if each.dtype.itemsize >= _WIDE else 1) for each in floats),
        default=0.0,
    )
    if all(each.device.type == "cpu" for each in floats):
        return coarsest
    return max(coarsest, {"high": _TF32, "medium": _BF16}.get(torch.get_float32_matmul_precision(), 0.0))

"""Records the forwards of any module tree in somebody's own program: an engine, a server, a training loop."""

from __future__ import annotations

import warnings
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch

from llmdbg.engine.stage_event import main_tensor
from llmdbg.errors import UsageError
from llmdbg.models.stages import Phase, Stage, StageKind
from llmdbg.traces.choices import choice
from llmdbg.traces.keeping import parse_keep
from llmdbg.traces.live_header import entries_of, environment, gpus_of, plain, spelled, weights_of
from llmdbg.traces.module_stages import stages_of
from llmdbg.traces.records import PromptRecord, RunHeader, ScoresRecord, TokenRecord
from llmdbg.traces.writer import TraceWriter, make_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from torch import Tensor, nn
    from torch.utils.hooks import RemovableHandle

    from llmdbg.models.tokens import TokenizerVocabulary

_LOGITS = Stage(StageKind.LOGITS, "logits")
_IDS = ("input_ids", "ids", "tokens")
_POSITIONS = ("position_ids", "positions")


class Recorder:
    """Records every forward of a model into a new or empty folder, in a `with` block.

    >>> with llmdbg.Recorder(model, "run", tokenizer=tokenizer) as recorder:
    ...     for _ in range(20):
    ...         logits = model(ids).logits
    ...         ids = torch.cat([ids, logits[:, -1:].argmax(-1)], dim=-1)
    ...         recorder.token(int(ids[0, -1]), logits[0, -1])

    `model` is any `nn.Module`, such as the model inside a vLLM worker. Every call of it is a forward, and a line of
    tokens.jsonl: `prefill` over several positions, `decode` over one. `tensors` is what `--tensors` takes: `none`,
    `last`, `all`, `inputs`, or addresses separated by commas. `weights` says whether to hash the weights, which reads
    them all. The model computes what it does without; its hooks come off at the end, whatever ends the block. Modules
    that run in no Python, as in a CUDA graph, are not seen. `forwards` counts. Raises UsageError for a folder that is
    not empty and for an unknown address, and TraceError where something cannot be written.
    """

    def __init__(
        self,
        model: nn.Module,
        folder: Path | str,
        *,
        tensors: str = "none",
        tokenizer: Any = None,
        name: str = "",
        weights: bool = True,
    ) -> None:
        self.forwards = 0
        self._model, self._folder = model, Path(folder)
        self._stages, self._modules = stages_of(model)
        self._keep = parse_keep([tensors], self._resolve)
        self._vocabulary = _vocabulary(tokenizer)
        self._name, self._weights = name or type(model).__name__, weights
        self._writer: TraceWriter | None = None
        self._handles: list[RemovableHandle] = []
        self._inside = False
        self._size = (1, 1)
        self._began = 0.0
        self._entered: dict[str, float] = {}
        self._open: dict[str, Any] | None = None

    def __enter__(self) -> Recorder:
        """Hook the model."""
        make_folder(self._folder)
        hooked: set[nn.Module] = set()
        for stage in self._stages:
            module = self._modules[stage.address]
            if module not in hooked and module is not self._model:
                hooked.add(module)
                self._handles += [
                    module.register_forward_pre_hook(self._entering(stage.address)),
                    module.register_forward_hook(self._leaving(stage), with_kwargs=True),
                ]
        self._handles += [
            self._model.register_forward_pre_hook(self._begin, with_kwargs=True),
            self._model.register_forward_hook(self._end, with_kwargs=True, always_call=True),
        ]
        return self

    def __exit__(
        self, _type: type[BaseException] | None, error: BaseException | None, _at: TracebackType | None
    ) -> None:
        """Unhook the model, and end the recording."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        try:
            self._finish()
        finally:
            if self._writer is not None:
                self._writer.close()
        if not self.forwards and error is None:
            warnings.warn(f"no forward of {self._name} ran, so nothing is recorded in {self._folder}", stacklevel=2)

    def token(self, id: int, logits: Tensor | None = None) -> None:
        """Say which token came of the latest forward, and the scores (vocabulary,) that it was chosen from, if known.

        Without it, the id is taken from the next forward's input, where that is one id, and the scores from what the
        model returned, where that has `logits`. Raises UsageError before the first forward.
        """
        if self._open is None:
            raise UsageError("token() is about the latest forward of the recorded model, and there is none")
        self._open["id"] = id
        if logits is not None:
            self._open["logits"] = logits.detach().reshape(-1, logits.shape[-1])[-1:]
        self._finish()

    def _resolve(self, address: str) -> frozenset[str]:
        if not any(each.address == address for each in self._stages):
            raise UsageError(f"no stage is called {address!r}, of which whole tensors could be kept")
        return frozenset({address})

    def _entering(self, address: str) -> Callable[..., None]:
        def enter(_module: Any, _args: Any) -> None:
            self._entered[address] = perf_counter()

        return enter

    def _leaving(self, stage: Stage) -> Callable[..., None]:
        address = stage.address

        def leave(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            began = self._entered.pop(address, None)
            if not self._inside or self._writer is None:
                return  # a part of the model that is called by itself
            tensor = main_tensor(output)
            on_host = tensor is not None and tensor.device.type == "cpu"
            self._writer.stage(
                stage,
                output,
                token=self.forwards,
                phase=self._phase,
                batch=self._size[0],
                length=self._size[1],
                ms=(perf_counter() - began) * 1e3 if began is not None and on_host else None,
                inputs=(args, kwargs),
            )

        return leave

    @property
    def _phase(self) -> Phase:
        return Phase.PREFILL if self._size[1] > 1 else Phase.DECODE

    def _begin(self, _module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self._inside:
            return  # a module that calls itself
        ids = _first_tensor(args, kwargs, _IDS)
        self._infer_id(ids)
        self._finish()
        self._size = _size(ids if ids is not None else main_tensor([*args, *kwargs.values()]))
        if self._writer is None:
            self._writer = TraceWriter(self._folder, self._header(ids), self._keep)
        positions = _first_tensor((), kwargs, _POSITIONS)
        self._open = {"positions": None if positions is None else positions.detach().reshape(-1).clone()}
        self._inside, self._began = True, perf_counter()

    def _end(self, _module: Any, _args: Any, _kwargs: Any, output: Any) -> None:
        if not self._inside or self._open is None:
            return
        self._inside = False
        assert self._writer is not None
        # Now, before the caller writes into what it got.
        self._writer.flush()
        self._open["ms"] = (perf_counter() - self._began) * 1e3
        if output is None:
            self._open["ended_by"] = "error"
            self._finish()
            return
        logits = getattr(output, "logits", None)
        if isinstance(logits, torch.Tensor) and logits.dim() == 3 and len(logits) == 1:
            # Whoever called may change it in place, as some samplers do.
            self._open["logits"] = logits[0, -1:].detach().clone()

    def _infer_id(self, ids: Tensor | None) -> None:
        if self._open is not None and ids is not None and ids.numel() == 1 and not ids.is_floating_point():
            self._open.setdefault("id", int(ids))

    def _finish(self) -> None:
        """Write the line of the latest forward, if it is not written yet."""
        known, self._open = self._open, None
        if known is None or self._writer is None:
            return
        self._inside = False
        id, logits, positions = known.get("id"), known.get("logits"), known.get("positions")
        scores: tuple[ScoresRecord, ...] = ()
        prob = None
        if logits is not None:
            values = logits.to(torch.float32)
            if id is not None:
                self._writer.stage(_LOGITS, values, token=self.forwards, phase=self._phase, length=1)
            scores, prob = choice([("logits", values)], -1 if id is None else id, self._text)
        self._writer.token(
            TokenRecord(
                index=self.forwards,
                phase=self._phase,
                id=id,
                text=None if id is None else self._text(id),
                prob=prob,
                scores=scores,
                positions=None if positions is None else tuple(positions.tolist()),
                length=self._size[1],
                ms=round(known.get("ms", 0.0), 3),
                ended_by=known.get("ended_by"),
            )
        )
        self.forwards += 1

    def _text(self, id: int) -> str:
        return f"<id {id}>" if self._vocabulary is None else self._vocabulary.text(id)

    def _header(self, ids: Tensor | None) -> RunHeader:
        first = next(self._model.parameters(), None)
        config = getattr(self._model, "config", None)
        fields: Any = getattr(config, "to_dict", dict)()
        return RunHeader(
            stages=entries_of(self._stages, self._modules),
            **environment(),
            device="" if first is None else str(first.device),
            gpus=gpus_of(self._model),
            dtype="" if first is None else str(first.dtype).removeprefix("torch."),
            attn=str(getattr(config, "_attn_implementation", "") or ""),
            model=self._name,
            model_class=type(self._model).__name__,
            config=plain(fields),
            weights=weights_of(self._model) if self._weights else (),
            prompt=self._prompt(ids),
            tensors=str(self._keep),
            notes=("recorded by llmdbg.Recorder: the model's forwards, whoever called them",),
        )

    def _prompt(self, ids: Tensor | None) -> PromptRecord:
        if ids is None or ids.is_floating_point() or (ids.dim() > 1 and len(ids) > 1):
            return PromptRecord()
        first = tuple(ids.reshape(-1).tolist())
        texts, special = ((), ()) if self._vocabulary is None else spelled(self._vocabulary, first)
        return PromptRecord(ids=first, tokens=texts, special=special)


def _vocabulary(tokenizer: Any) -> TokenizerVocabulary | None:
    if tokenizer is None:
        return None
    from llmdbg.models.tokens import TokenizerVocabulary

    return TokenizerVocabulary(tokenizer)


def _first_tensor(args: tuple[Any, ...], kwargs: Mapping[str, Any], names: tuple[str, ...]) -> Tensor | None:
    for name in names:
        if isinstance(kwargs.get(name), torch.Tensor):
            found: Tensor = kwargs[name]
            return found
    return args[0] if args and isinstance(args[0], torch.Tensor) else None


def _size(given: Tensor | None) -> tuple[int, int]:
    """How many sequences a forward runs over, and how many positions of each."""
    if given is None or not given.dim():
        return 1, 1
    # vLLM's ids (positions,) have no batch dimension, and neither have its vectors (positions, width).
    if given.dim() == 1 or (given.is_floating_point() and given.dim() == 2):
        return 1, len(given)
    return len(given), int(given.shape[1])

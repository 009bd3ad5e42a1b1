"""Writes what a reader has found in a dump as a recording."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmdbg.errors import TraceError
from llmdbg.files import why_not, write_private
from llmdbg.models.stages import Phase
from llmdbg.traces.choices import choice
from llmdbg.traces.foreign.dump import MOST_OUTPUTS, ForeignOutput
from llmdbg.traces.foreign.names import LOGITS
from llmdbg.traces.json_text import text_of
from llmdbg.traces.records import FORMAT, PromptRecord, RunHeader, ScoresRecord, StageRecord, TokenRecord
from llmdbg.traces.tensor_files import Keep
from llmdbg.traces.writer import HEADER, TraceWriter
from llmdbg.version import __version__

if TYPE_CHECKING:
    from torch import Tensor

    from llmdbg.models.stages import Stage
    from llmdbg.traces.foreign.dump import Dump, ForeignForward

_KEEP = Keep(all=True, inputs=True)
_DEEPEST, _LONGEST_NAME = 6, 600


def convert(dump: Dump, folder: Path) -> None:
    """Write a dump as a recording into a new or empty folder.

    Raises TraceError, naming file and place, for a damaged dump, and UsageError for a folder that is not empty. Of a
    damaged one nothing is left there.
    """
    writer = TraceWriter(folder, RunHeader(stages=()), _KEEP)
    conversion = _Conversion(dump, writer)
    try:
        conversion.run()
        writer.close()
        text = text_of(conversion.header(), format=FORMAT)
        write_private(folder / HEADER, text.encode() + b"\n")
    except BaseException as error:
        with suppress(TraceError):
            writer.close()
        # A part of a dump says nothing of what is missing. The folder was empty before.
        for each in folder.iterdir():
            each.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise TraceError(f"cannot write the recording {folder}: {why_not(error)}") from error
        raise


class _Conversion:
    """One dump on its way into one recording."""

    def __init__(self, dump: Dump, writer: TraceWriter) -> None:
        self._dump = dump
        self._writer = writer
        self._dtypes: Counter[str] = Counter()
        self._without_values = 0
        self._inputs = self._outputs = False
        self._prompt: tuple[int, ...] = ()

    def run(self) -> None:
        """Write every forward. A forward's choice is what the next one was fed."""
        forwards = iter(self._dump.forwards)
        current = next(forwards, None)
        if current is None:
            raise TraceError(f"{self._dump.path} is a dump of {self._dump.tool} without any forward")
        self._prompt = current.ids
        token, at = 0, 0
        while current is not None:
            following = next(forwards, None)
            fed = following.ids if following is not None else ()
            self._forward(current, token, at, fed[0] if len(fed) == 1 else None)
            at += max(current.length, len(current.ids))
            current, token = following, token + 1

    def header(self) -> RunHeader:
        """What is known of the run, once all of it has been read."""
        notes = [f"imported from a dump of {self._dump.tool}: {self._dump.path.name}", *self._dump.notes]
        if self._without_values:
            notes.append(f"of {self._without_values:,} outputs the dump has no values, only statistics")
        if not self._prompt:
            notes.append("the dump does not say which ids were fed")
        floating = [name for name, _ in self._dtypes.most_common() if "float" in name]
        return RunHeader(
            stages=(),
            written_by=f"{self._dump.tool}, imported by llmdbg {__version__}",
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            dtype=floating[0] if floating else "",
            device="cpu",
            model=self._dump.path.stem or self._dump.tool,
            model_class=self._dump.model_class,
            config=self._dump.config,
            prompt=PromptRecord(ids=self._prompt, mask=(1,) * len(self._prompt)),
            tensors="inputs" if self._inputs else "all" if self._outputs else "none",
            notes=tuple(dict.fromkeys(notes)),
        )

    def _forward(self, forward: ForeignForward, token: int, at: int, chosen: int | None) -> None:
        length = forward.length or len(forward.ids) // max(1, forward.batch)
        phase = Phase.PREFILL if token == 0 or length > 1 else Phase.DECODE
        scores: tuple[ScoresRecord, ...] = ()
        prob: float | None = None
        for count, each in enumerate(forward.outputs()):
            if count >= MOST_OUTPUTS:
                raise TraceError(f"{self._dump.path} has more than {MOST_OUTPUTS:,} outputs in a forward")
            output = _last_position(each, length) if each.is_head else each
            self._output(output, token, phase, length or 1, forward.batch)
            if output.is_head and (logits := _scores_in(output)) is not None:
                scores, prob = choice(
                    [(LOGITS.address, logits)], -1 if chosen is None else chosen, lambda id: f"<id {id}>"
                )
                if output.stage.address != LOGITS.address:
                    self._output(ForeignOutput(LOGITS, {"output": logits}), token, phase, 1, 1)
        self._writer.token(
            TokenRecord(
                index=token,
                phase=phase,
                id=chosen,
                prob=prob if chosen is not None else None,
                scores=scores,
                positions=forward.positions,
                first_position=at if length else None,
                length=length or None,
            )
        )

    def _output(self, output: ForeignOutput, token: int, phase: Phase, length: int, batch: int) -> None:
        output = replace(output, stage=self._sound(output.stage))
        returned = _tree("output", output.values)
        if returned is None:
            self._without_values += 1
            if output.shape or output.statistics is not None:
                self._dtypes[output.dtype] += 1
                record = StageRecord(
                    token, output.stage.address, phase, output.shape, output.dtype, statistics=output.statistics
                )
                self._writer.record(record, output.stage)
            return
        given = _tree("input", output.values)
        self._outputs = True
        self._inputs = self._inputs or given is not None
        self._dtypes[str(next(iter(output.values.values())).dtype).removeprefix("torch.")] += 1
        inputs = given if isinstance(given, dict) else {} if given is None else {"0": given}
        self._writer.stage(
            output.stage, returned, token=token, phase=phase, length=length, batch=batch, inputs=((), inputs)
        )

    def _sound(self, stage: Stage) -> Stage:
        """A stage whose name can be one: a slash would end it in the names of tensors. Raises TraceError."""
        if not 0 < len(stage.address) <= _LONGEST_NAME:
            raise TraceError(f"{self._dump.path} is damaged: it has a stage with no name, or one of any length")
        return replace(stage, address=stage.address.replace("/", ".")) if "/" in stage.address else stage


def _tree(which: str, values: Mapping[str, Tensor]) -> Any:
    """The values under `output` or `input` as nested dicts, so that they get their names again; None without any."""
    root: dict[str, Any] = {}
    for name, tensor in values.items():
        first, *rest = name.split(".", _DEEPEST)
        if first != which:
            continue
        if not rest:
            return tensor
        inner = root
        for part in rest[:-1]:
            found = inner.setdefault(part, {})
            inner = found if isinstance(found, dict) else inner
        inner[rest[-1]] = tensor
    return root or None


def _last_position(output: ForeignOutput, length: int) -> ForeignOutput:
    """The logits of the last position alone, as `generate()` computes them."""

    def cut(tensor: Tensor) -> Tensor:
        if length > 1 and tensor.dim() >= 2 and tensor.shape[-2] == length:
            return tensor[..., -1:, :]
        return tensor

    return replace(output, values={name: cut(each) for name, each in output.values.items()})


def _scores_in(output: ForeignOutput) -> Tensor | None:
    """Logits (1, vocabulary) float32; None if there are none, or of several sequences."""
    found = next((each for name, each in output.values.items() if name.startswith("output")), None)
    if found is None or not found.is_floating_point() or found.dim() == 0 or found.numel() != found.shape[-1]:
        return None
    return found.reshape(1, -1).float()

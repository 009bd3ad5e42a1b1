"""A reference that another process runs, under another Python: it follows there, and its values come through files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.debugger.comparison.references.messages import Ask, Follow, Found, Ready
from llmdbg.debugger.comparison.references.process import InterruptedWaitError, OtherProcess
from llmdbg.debugger.comparison.references.source import Compared, Taken, error_of, is_another_function
from llmdbg.debugger.comparison.tensor_tree import tensors_of
from llmdbg.engine.settings import GenerationSettings
from llmdbg.errors import GenerationError
from llmdbg.models.stages import SAMPLE
from llmdbg.models.tokens import Prompt
from llmdbg.traces.reader import Trace
from llmdbg.traces.tensor_files import TensorReader, file_name

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor

    from llmdbg.debugger.comparison.references.process import Elsewhere
    from llmdbg.engine.debuggee import Debuggee
    from llmdbg.engine.stage_event import StageEvent

_Where = tuple[int, str, int, tuple[int, ...]]
"""A token, a stage, its call, and the ids before."""


class RunElsewhere:
    """The model of `asked`, run in another process after the prompt of `debuggee`, with the tokens of that forced.

    `interrupted` says whether the user has interrupted the run. Waits until the model is loaded. Raises
    GenerationError, in one line, if it cannot be.
    """

    def __init__(self, asked: Elsewhere, debuggee: Debuggee, name: str, interrupted: Callable[[], bool]) -> None:
        self.name = name
        self.restarts = 0
        self._debuggee = debuggee
        self._padding = 0
        self._number = 0
        self._is_another: dict[str, bool] = {}
        self._told: tuple[int, ...] = ()
        self._last: tuple[_Where, dict[str, Tensor] | None, bool] | None = None
        self._process = OtherProcess(asked.python, asked.program, interrupted)
        try:
            self._folder = self._process.folder / "run"
            prompt = Prompt(debuggee.prompt.ids, "", padding=debuggee.prompt.padding)
            settings = debuggee.settings or GenerationSettings()
            self._process.begin(Follow(asked.model, prompt, settings, str(self._folder)))
            ready = self._process.answer(wait=False)
            assert isinstance(ready, Ready)
            header = Trace.open(self._folder).header
        except InterruptedWaitError:
            self._process.close()
            raise GenerationError(f"{name} was interrupted before it was loaded") from None
        except BaseException:
            self._process.close()
            raise
        self.last_bit = ready.last_bit
        self._addresses = frozenset(each.address for each in header.stages) - {SAMPLE.address}
        engine = "vllm" if asked.model.engine == "vllm" else "transformers"
        version = f"{engine.replace('vllm', 'vLLM')} {header.versions.get(engine, 'unknown')}"
        self.about = f"in another process: {version}, {header.dtype}"
        here = None if debuggee.loaded is None else debuggee.loaded.dtype
        if here and here != header.dtype:
            self.about += f" (this run is {here}: `--dtype {here}` behind the model makes it the same)"

    def unfit(self) -> str | None:
        """None: whatever it is, stages with the same address can be compared."""
        return None

    def missing(self, _token: int, address: str) -> str | None:
        """Why it has no value of a stage, in a line; None if it may have one."""
        return None if address in self._addresses else f"{self.name} has no stage {address}"

    def compared(self, event: StageEvent) -> Compared | None:
        """How far an event is from the reference's; None where it has no such stage. Raises LlmdbgError if it fails."""
        address = event.stage.address
        is_first = address not in self._is_another
        if (found := self._at(event.token, address, 0, inputs=is_first)) is None:
            return None
        if is_first:
            given = tensors_of((event.args, event.kwargs))
            self._is_another[address] = is_another_function(given, _within(found, "input"))
        if self._is_another[address]:
            return None
        error = error_of(event.output, _within(found, "output"))
        return None if error is None else Compared(error)

    def taken(self, event: StageEvent) -> Taken | None:
        """What the reference's stage took and returned; None where it has no such stage. Raises LlmdbgError."""
        if (found := self._at(event.token, event.stage.address, 0, inputs=True)) is None:
            return None
        inputs = {f"{0 if each[0].isdigit() else 1}.{each}": tensor for each, tensor in _within(found, "input").items()}
        return Taken(inputs, _within(found, "output"))

    def value(self, token: int, address: str, call: int) -> Tensor | None:
        """The main tensor that a call returns, on the CPU; None where it has no such stage or call."""
        # Without it an edit would not be made: it is waited for.
        found = self._at(token, address, call, wait=True)
        return None if found is None else next(iter(_within(found, "output").values()), None)

    def close(self) -> None:
        """End the process. It cannot be asked again."""
        self._process.close()

    def _at(
        self, token: int, address: str, call: int, *, inputs: bool = False, wait: bool = False
    ) -> dict[str, Tensor] | None:
        """The tensors of a call by their names in the file; None where there are none, or the user does not wait."""
        if address not in self._addresses:
            return None
        ids = self._debuggee.generated
        where = (token, address, call, ids[:token])
        if self._last is not None and self._last[0] == where and (self._last[2] or not inputs):
            return self._last[1]
        same = next(
            (at for at, (one, other) in enumerate(zip(self._told, ids, strict=False)) if one != other),
            min(len(self._told), len(ids)),
        )
        self._told = ids
        self._number += 1
        self._process.ask(Ask(self._number, token, address, call, same, ids[same:], inputs))
        try:
            found = self._found(wait=wait)
        except InterruptedWaitError:
            return None
        self.restarts = found.restarts
        self._last = where, self._read(found.number, address, call) if found.there else None, inputs
        return self._last[1]

    def _found(self, *, wait: bool) -> Found:
        """The answer to the last question. Those to questions that the user did not wait for are dropped."""
        while True:
            answer = self._process.answer(wait=wait)
            if not isinstance(answer, Found):
                raise GenerationError(f"{self.name} answers what it was not asked")
            if answer.number == self._number:
                return answer
            self._file(answer.number).unlink(missing_ok=True)

    def _read(self, number: int, address: str, call: int) -> dict[str, Tensor]:
        reader = TensorReader(self._folder)
        found = {}
        for name in reader.names(number, address):
            tensor = reader.read(number, f"{address}/{name}")
            assert tensor is not None
            found[name] = tensor
        self._file(number).unlink(missing_ok=True)
        return found

    def _file(self, number: int) -> Path:
        return self._folder / file_name(number)


def _within(found: dict[str, Tensor], kind: str) -> dict[str, Tensor]:
    """The tensors whose names begin with `kind`, by the rest of it, which is empty for a tensor alone."""
    return {
        name.removeprefix(kind).removeprefix("."): tensor
        for name, tensor in found.items()
        if name.partition(".")[0] == kind
    }

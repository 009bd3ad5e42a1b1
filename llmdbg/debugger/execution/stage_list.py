"""Every stage of one run: the model's own, and its logits processors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.debugger.breakpoints.addresses import AddressBook
from llmdbg.debugger.breakpoints.fine_addresses import FineAddresses
from llmdbg.debugger.breakpoints.gradient_addresses import GradientAddresses
from llmdbg.engine.debuggee import Capability, ComputesGradients
from llmdbg.formatting import printable
from llmdbg.models.stages import SAMPLE, Stage, StageKind

if TYPE_CHECKING:
    from llmdbg.engine.debuggee import Debuggee
    from llmdbg.models.anatomy import Anatomy


class StageList:
    """The stages a debuggee can stop at. Its logits processors may change with the settings of the run."""

    def __init__(self, debuggee: Debuggee) -> None:
        self._debuggee = debuggee
        self._book: tuple[Anatomy, tuple[Stage, ...], AddressBook] | None = None

    @property
    def addresses(self) -> AddressBook:
        """Looks up stages by what the user types."""
        anatomy, processors = self._debuggee.anatomy, self._debuggee.processors
        if self._book is None or self._book[0] is not anatomy or self._book[1] != processors:
            counts = Capability.TOKENS in self._debuggee.capabilities
            gradients = GradientAddresses(
                anatomy,
                able=Capability.GRADIENTS in self._debuggee.capabilities,
                name=printable(self._debuggee.name),
            )
            book = AddressBook(anatomy, processors, counts_tokens=counts, finer=self._finer(), gradients=gradients)
            self._book = (anatomy, processors, book)
        return self._book[2]

    def _finer(self) -> FineAddresses:
        debuggee = self._debuggee
        return FineAddresses(
            debuggee.anatomy,
            None if debuggee.loaded is None else debuggee.loaded.model,
            name=printable(debuggee.name),
            lines=Capability.LINES in debuggee.capabilities,
            ops=Capability.OPS in debuggee.capabilities,
        )

    def gradients(self) -> tuple[str, ...]:
        """The addresses of gradients with respect to what modules return, where the debuggee computes any."""
        trains = isinstance(self._debuggee, ComputesGradients) and self._debuggee.computes_gradients
        return self.addresses.gradients() if trains else ()

    def all(self) -> tuple[Stage, ...]:
        """Every stage in order, with the logits processors before `sample`."""
        *others, last = self._debuggee.anatomy.stages
        return (*others, *self._debuggee.processors, last)

    def find(self, address: str) -> Stage:
        """The stage at an address. Raises KeyError."""
        anatomy = self._debuggee.anatomy
        return next((each for each in self.choosing() if each.address == address), None) or anatomy.stage(address)

    def has(self, address: str) -> bool:
        """Whether there is a stage at an address."""
        return any(stage.address == address for stage in self.all())

    def choosing(self) -> tuple[Stage, ...]:
        """The stages between a forward and its token, the same for every token: logits, processors, sample."""
        logits = (stage for stage in self._debuggee.anatomy.stages if stage.kind is StageKind.LOGITS)
        return (*logits, *self._debuggee.processors, SAMPLE)

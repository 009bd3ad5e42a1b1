"""What layers added, read once each: the answers of a token are kept while the run steps through it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from llmdbg.debugger.inspection.additions_answer import Addition
    from llmdbg.probes.lens import Lens


class ReadAdditions:
    """The additions of the current token's layers, each kept for as long as it is about the same tensor."""

    def __init__(self) -> None:
        self._lens: Lens | None = None
        self._known: dict[str, tuple[Tensor, Mapping[str, Addition]]] = {}

    def unread(self, lens: Lens, outputs: Mapping[str, Tensor]) -> list[str]:
        """The addresses of the layers, given the output (width,) of each at the focus, that have not been read yet."""
        if lens is not self._lens:
            self._lens, self._known = lens, {}
        self._known = {name: each for name, each in self._known.items() if outputs.get(name) is each[0]}
        return [name for name in outputs if name not in self._known]

    def keep(self, address: str, output: Tensor, found: Mapping[str, Addition]) -> None:
        """Keep what a layer added."""
        self._known[address] = output, found

    def known(self, addresses: Sequence[str]) -> dict[str, Mapping[str, Addition]]:
        """What is kept, in the order of the addresses."""
        return {name: self._known[name][1] for name in addresses if name in self._known}

"""What the ranks of all nodes tell each other beside their groups: in the store by which they find each other."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import TYPE_CHECKING

from llmdbg.errors import LoadError

if TYPE_CHECKING:
    from llmdbg.models.launched_rank import LaunchedRank

_WAITS = timedelta(seconds=5)


def is_there_before_any_rank() -> bool:
    """Whether torchrun holds the store itself, as it says: else rank 0 does, once it looks for the others."""
    return os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == str(True)


class SharedStore:
    """A connection of this rank to the store. Raises LoadError; later RuntimeError, once the store is gone."""

    def __init__(self, place: LaunchedRank) -> None:
        from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]

        address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        try:
            store = TCPStore(address, port, is_master=False, wait_for_workers=False, timeout=_WAITS)
        except RuntimeError as error:
            raise LoadError(
                f"the store of the ranks at {address}:{port} does not answer: is torchrun there?"
            ) from error
        self._rank = place.rank
        self._store = PrefixStore(f"llmdbg/{place.attempt}", store)

    def say(self, what: str, text: str) -> None:
        """Let the others know, in place of what this rank has said before under this name."""
        self._store.set(f"{what}/{self._rank}", text)

    def said(self, what: str, rank: int) -> str:
        """What a rank has said under a name; empty if it has not yet."""
        key = f"{what}/{rank}"
        text: str = self._store.get(key).decode() if self._store.check([key]) else ""
        return text

"""The tokens of a program, of which the debugger only sees what forwards are fed."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from llmdbg.errors import CommandError

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmdbg.engine.program.lanes import Lane
    from llmdbg.engine.settings import GenerationSettings
    from llmdbg.engine.token_overrides import TokenOverrides


class SeenTimeline:
    """The ids that the lane in view has been fed after its prompt. They are the program's: nobody here changes them."""

    def __init__(self, lane: Callable[[], Lane]) -> None:
        self._lane = lane
        self.overrides: dict[int, TokenOverrides] = {}
        self.settings: tuple[tuple[int, GenerationSettings], ...] = ()

    @property
    def ids(self) -> list[int]:
        """The ids after the prompt, in a list of the caller's own."""
        return self._lane().later_ids()

    @ids.setter
    def ids(self, ids: list[int]) -> None:
        raise CommandError(f"the {len(ids)} tokens are the program's own")

    def settings_at(self, token: int) -> NoReturn:
        """Nobody may ask: the program chooses its tokens itself."""
        raise CommandError(f"the program itself chooses token {token}")

    def fork(self, token: int) -> NoReturn:
        """Nobody may fork a program."""
        raise CommandError(f"a program cannot branch at token {token}")

    def differing(self) -> tuple[int, ...]:
        """None: nothing is run again."""
        return ()

    def fingerprints(self) -> dict[int, int]:
        """None: logits are not run again."""
        return {}

    def not_finite_since(self) -> int | None:
        """Not known: a stop says it of its own token."""
        return None

    @property
    def bytes(self) -> int:
        """Nothing is kept for going back."""
        return 0

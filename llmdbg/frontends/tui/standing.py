"""The screen of an engine that outlives its terminal: others come and go, and leaving it is a question.

Whoever holds the terminal (`frontends/detached`) says when another one has come; it is told where the run stands.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from llmdbg.frontends.sanitize import sanitize, spell_tokens_in_ascii
from llmdbg.frontends.tui.app import LlmdbgApp
from llmdbg.frontends.tui.bars import whereabouts
from llmdbg.frontends.tui.input import choosing
from llmdbg.frontends.tui.input.showing import END, STAND
from llmdbg.frontends.tui.state.picker import Choice, Picker
from llmdbg.frontends.tui.terminal.look import look, theme_for
from llmdbg.frontends.wire.messages import Lost, Place, Release, cut

if TYPE_CHECKING:
    from llmdbg.frontends.launch_request import LaunchRequest
    from llmdbg.frontends.log import LogBook
    from llmdbg.frontends.tui.input.preferences import Preferences
    from llmdbg.frontends.tui.terminal.driver import TerminalLine
    from llmdbg.frontends.tui.terminal.look import TerminalLook
    from llmdbg.frontends.tui.terminal.messages import CloseAsked, TerminalCame
    from llmdbg.frontends.wire.engine_link import EngineLink

_SECONDS_BETWEEN_REPORTS = 1.0
_LONGEST_MODEL = 100
_DEVICE_FAILED = re.compile(r"(CUDA|HIP) (error|driver error): (?!out of memory)[\w \-]+|device-side assert", re.ASCII)


class StandingApp(LlmdbgApp):
    """The screen of one engine that stands by itself."""

    def __init__(
        self,
        request: LaunchRequest,
        preferences: Preferences,
        look: TerminalLook,
        book: LogBook,
        line: TerminalLine,
        link: EngineLink,
    ) -> None:
        super().__init__(request, preferences, look, book, line.driver_class)
        self._line, self._link = line, link
        self._resume = "llmdbg --resume" if request.ranks is None else "torchrun … --resume ID --detachable"
        self._reported: Place | None = None
        self._reported_at = 0.0

    def on_terminal_came(self, message: TerminalCame) -> None:
        """Draw everything anew, as the terminal that has come can show it."""
        if message.environment is not None:
            self.look = look(message.environment, self._preferences)
            spell_tokens_in_ascii(not self.look.unicode)
            self.theme = theme_for(self.look, self._preferences)
        if self._line.driver is not None:
            self._line.driver.begin_anew(message.number, self.look)
        for screen in self.screen_stack:
            for widget in screen.walk_children(with_self=True):
                widget.refresh()
        self.refresh(layout=True)
        self.follow()

    def on_close_asked(self, _message: CloseAsked) -> None:
        """End, as whoever holds the terminal asks."""
        self.exit()

    def leave(self, how: str = "") -> None:
        """Leave the engine standing or end it; ask which, if that is not said."""
        if how == STAND:
            self._link.tell(Release())
        elif how == END or self.state.shown is None:
            self.exit()
        else:
            stands = f"`llmdbg attach {self._link.id[:6]}` takes it up again, the model loaded and all as it is"
            saved = f"`{self._resume}` continues the saved session, once it has loaded"
            ends = saved if self.engine.session else "no session of it is saved"
            choices = (Choice("leave it standing", f"quit {STAND}", stands), Choice("end it", f"quit {END}", ends))
            choosing.begin(self, Picker("leave", choices))
            self.follow()

    def paint(self) -> None:
        """Make the rows of everything in view, and report where the run stands."""
        super().paint()
        state = self.state
        shown = state.shown
        where = "loading" if shown is None else whereabouts(state, shown)
        model = state.model if shown is None else shown.model
        working = shown is None or state.running
        place = Place(cut(sanitize(model)[-_LONGEST_MODEL:]), cut(sanitize(where)), self.engine.session, working)
        before, now = self._reported, time.monotonic()
        changes = before is None or (place.working, place.session) != (before.working, before.session)
        if changes or (place != before and (not place.working or now - self._reported_at > _SECONDS_BETWEEN_REPORTS)):
            self._reported, self._reported_at = place, now
            self._link.tell(place)


def lost_reason(error: BaseException) -> str:
    """In a line, why an engine could not go on."""
    text = " ".join(str(error).split())
    found = _DEVICE_FAILED.search(text)
    return f"the device has failed: {found[0]}" if found else f"{type(error).__name__}: {text}"


def tell_that_it_is_lost(link: EngineLink | None, reason: str) -> None:
    """Have the screens offer another engine, if there is one who can."""
    if link is not None:
        link.tell(Lost(cut(reason)))

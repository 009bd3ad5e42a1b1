"""What each action of the registry does: one method an action, called by its name."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from textual.events import Key, Paste

from llmdbg.debugger.commands import COMMANDS
from llmdbg.debugger.commands.words import Words
from llmdbg.errors import LlmdbgError
from llmdbg.frontends.tui.input.actions import ACTIONS
from llmdbg.frontends.tui.input.preferences import THEMES as THEME_WORDS
from llmdbg.frontends.tui.input.prompt import Typing
from llmdbg.frontends.tui.input.search import Index, Matches
from llmdbg.frontends.tui.panes.pane import PaneSlot
from llmdbg.frontends.tui.screen_state import Overlay, SearchHits
from llmdbg.frontends.tui.widgets.row_pane import RowPane
from llmdbg.models.stages import StageKind

if TYPE_CHECKING:
    from textual.events import Event

    from llmdbg.frontends.tui.app import LlmdbgApp

COMMAND_OF = {action.name: action.command for action in ACTIONS if action.command}

_ON_TOUR = ("next", "until")
"""What goes to the next stop of the tour, while there is one."""

_EVERYTHING = 1 << 30  # lines: further than any pane goes


class ActionHandler:
    """The doing behind the screen's keys, clicks and typed actions."""

    def __init__(self, app: LlmdbgApp) -> None:
        self._app = app
        self._found: Matches | None = None
        self._index = Index()

    def perform(self, name: str, argument: str = "") -> None:
        """Do an action; `argument` is what it was clicked or typed with."""
        if self._app.state.touring and name in _ON_TOUR and not argument:
            # A key pressed once more while the run is on its way must not carry anyone past a stop unseen.
            if not self._app.engine.busy:
                self._app.submit("tour")
            return
        if name.startswith("pane_"):
            self.go_to_pane(name.removeprefix("pane_"))
        elif name in COMMAND_OF:
            self._app.submit(COMMAND_OF[name])
        else:
            getattr(self, name)(argument)

    def go_to_pane(self, name: str) -> None:
        """Give a pane the keys, and room."""
        app, pane = self._app, self._app.panes[name]
        app.state.overlay = None
        app.view = replace(app.view, pane=name)
        if pane.place is PaneSlot.TAB:
            app.view = replace(app.view, tab=name, side=name)
        elif pane.place in (PaneSlot.MIDDLE, PaneSlot.RIGHT):
            app.view = replace(app.view, side=name)

    def look_beside(self, name: str) -> None:
        """Show a pane beside the stages where there is room for one alone; the keys stay where they are."""
        view = self._app.view
        follows = self._app.panes[view.pane].place in (PaneSlot.MIDDLE, PaneSlot.RIGHT)
        self._app.view = replace(view, side=name, pane=name if follows and view.pane != name else view.pane)

    async def take(self, event: Event) -> bool:
        """Take in what is typed, and tell what fits or what a search finds. Returns whether it was the line's."""
        prompt = self._app.prompt
        if isinstance(event, Key) and event.key == "enter":
            self._entered()
            return True
        hint = await prompt.take(event) if isinstance(event, Key | Paste) else None
        if hint is not None and prompt.typing is Typing.COMMAND:
            self._app.state.say(hint)
        elif hint is not None:
            self._search(prompt.value)
        return hint is not None

    def _entered(self) -> None:
        """Enter was pressed on what was typed."""
        app, prompt = self._app, self._app.prompt
        typing, line = prompt.typing, prompt.close()
        if typing is Typing.SEARCH:
            self._search(line or app.state.found.query)
            self._next_hit()
        elif line:
            prompt.remember(line)
            self._run_typed(line)

    def _run_typed(self, line: str) -> None:
        word, _, argument = line.partition(" ")
        try:
            COMMANDS.find(word)
        except LlmdbgError:
            fitting = [action.name for action in ACTIONS if action.name == word] or [
                action.name for action in ACTIONS if action.name.startswith(word)
            ]
            if len(fitting) == 1:
                self._app.perform(fitting[0], argument.strip())
                return
        self._app.submit(line)

    def until(self, argument: str) -> None:
        """Go on to the selected stage, or the one named."""
        state = self._app.state
        if argument or state.overlay is None:
            self._app.submit(f"until {argument or state.selected}")

    def pause(self, _argument: str) -> None:
        """Stop a run."""
        if self._app.engine.busy:
            self._app.engine.interrupt()

    def breakpoint(self, argument: str) -> None:
        """Set or delete a breakpoint at the selected stage, or the one named."""
        state = self._app.state
        self._app.submit(state.breakpoint_command(argument or state.selected))

    def breakpoints(self, _argument: str) -> None:
        """List the breakpoints."""
        self._app.submit("info breakpoints")

    def goto(self, argument: str) -> None:
        """Go to the stage named, or ask for one."""
        if argument:
            self._app.submit(f"goto {argument}")
        else:
            self._open("goto ")

    def force(self, argument: str) -> None:
        """Take another token, or ask for one."""
        shown = self._app.state.snapshot
        if argument:
            self._app.submit(f"force {argument}")
        elif shown.stop.stage.kind is not StageKind.SAMPLE:
            self._app.state.say("a token is chosen at `sample`: t goes to the next one, T to the one before", "warn")
        else:
            self._open("force ")

    def answer(self, _argument: str) -> None:
        """Show the answer, or the panes again."""
        self._toggle(Overlay.ANSWER)

    def help(self, _argument: str) -> None:
        """Show the keys."""
        self._toggle(Overlay.HELP)

    def tokens(self, _argument: str) -> None:
        """Tokens as text, with ids, as a table."""
        self._app.state.next_token_mode()
        self._app.state.say(f"tokens as {self._app.state.token_mode.value}")

    def explain(self, argument: str) -> None:
        """Say what has happened, or what a term means; asked again where it is shown, ask which."""
        if argument and argument != "?":
            self._app.submit(f"explain {argument}")
        elif argument or self._app.view.pane == "explain":
            self._open("explain ")
            self._app.state.say("a word of the glossary or a stage, e.g. explain residual stream · Tab completes")
        else:
            self.go_to_pane("explain")

    def search(self, argument: str) -> None:
        """Search for what was named, or ask."""
        if argument:
            self._search(argument)
            self._next_hit()
        else:
            self._app.prompt.open(Typing.SEARCH)

    def zoom(self, _argument: str) -> None:
        """One pane, or all."""
        self._app.state.overlay = None
        self._app.view = replace(self._app.view, zoomed=not self._app.view.zoomed)

    def show(self, argument: str) -> None:
        """Go to the pane named."""
        fitting = [name for name in self._app.panes if argument and name.startswith(argument)]
        if len(fitting) == 1:
            self.go_to_pane(fitting[0])
        else:
            self._app.state.say(f"show takes one of: {', '.join(self._app.panes)}", "bad")

    def next_pane(self, _argument: str) -> None:
        """The pane after this one."""
        self._step_pane(1)

    def previous_pane(self, _argument: str) -> None:
        """The pane before this one."""
        self._step_pane(-1)

    def up(self, _argument: str) -> None:
        """Move up."""
        self._move(-1)

    def down(self, _argument: str) -> None:
        """Move down."""
        self._move(1)

    def page_up(self, _argument: str) -> None:
        """Move a page up."""
        self._move_page(-1)

    def page_down(self, _argument: str) -> None:
        """Move a page down."""
        self._move_page(1)

    def first(self, _argument: str) -> None:
        """Move to the first line."""
        self._move(-_EVERYTHING)

    def last(self, _argument: str) -> None:
        """Move to the last line."""
        self._move(_EVERYTHING)

    def left(self, _argument: str) -> None:
        """Fold, or go back."""
        self._sideways(-1)

    def right(self, _argument: str) -> None:
        """Unfold, or go on."""
        self._sideways(1)

    def select(self, argument: str) -> None:
        """Select a stage."""
        self._app.state.select(argument)

    def fold(self, argument: str) -> None:
        """Show or hide the parts of a stage."""
        self._fold(argument or self._app.state.selected)

    def focus(self, argument: str) -> None:
        """Describe another position."""
        self._app.submit(f"focus {argument}")

    def command(self, _argument: str) -> None:
        """Begin to type a command."""
        self._open()

    def close(self, _argument: str) -> None:
        """Stop typing, or close what lies over the panes, or forget a search, or give the others their room back."""
        app = self._app
        if app.prompt.typing is not None:
            app.prompt.close()
        elif app.state.overlay is not None:
            app.state.overlay = None
        elif app.view.zoomed:
            app.view = replace(app.view, zoomed=False)
        elif app.state.touring:
            app.state.touring = False
            app.state.say("the tour is over here: n and Enter are themselves again, and :tour goes on with it")
        else:
            app.state.found = SearchHits()

    def copy(self, _argument: str) -> None:
        """Copy the present pane."""
        from llmdbg.frontends.tui.clipboard_export import copied

        name = "text" if self._app.state.overlay is not None else self._app.view.pane
        self._app.state.say(copied(self._app, self._app.row_pane(name)))

    def screenshot(self, _argument: str) -> None:
        """Save the screen."""
        from llmdbg.frontends.tui.clipboard_export import saved_screen

        self._app.state.say(saved_screen(self._app))

    def theme(self, argument: str) -> None:
        """Choose another theme."""
        self._app.choose_theme(argument)

    def palette(self, _argument: str) -> None:
        """Find an action by typing."""
        self._app.action_command_palette()

    def _open(self, text: str = "") -> None:
        shown, prompt = self._app.state.snapshot, self._app.prompt
        actions = ((action.name, action.help) for action in ACTIONS if not action.command)
        choices = {"show": self._app.panes, "theme": THEME_WORDS}
        prompt.words = Words.of(
            shown.stages,
            shown.breakpoints,
            len(shown.tokens),
            actions,
            choices,
            branches=shown.branches,
            candidates=() if shown.stop.candidates is None else (row.text for row in shown.stop.candidates.rows),
        )
        prompt.open(Typing.COMMAND, text)

    def _toggle(self, overlay: Overlay) -> None:
        state = self._app.state
        state.overlay = None if state.overlay is overlay else overlay
        self._app.row_pane("text").scroll_home(animate=False)

    def _step_pane(self, by: int) -> None:
        view = self._app.view
        names = [name for name, pane in self._app.panes.items() if pane.place is not PaneSlot.TAB or name == view.tab]
        self.go_to_pane(names[(names.index(view.pane) + by) % len(names)] if view.pane in names else names[0])

    def _step_tab(self, by: int) -> None:
        tabs = [name for name, pane in self._app.panes.items() if pane.place is PaneSlot.TAB]
        self.go_to_pane(tabs[(tabs.index(self._app.view.pane) + by) % len(tabs)])

    def _move(self, by: int) -> None:
        focused = self._app.focused
        if focused is not None and focused.id == "stages":
            self._app.state.move_selection(by)
        elif isinstance(focused, RowPane):
            focused.scroll_relative(y=by, animate=False)

    def _move_page(self, by: int) -> None:
        focused = self._app.focused
        if isinstance(focused, RowPane):
            self._move(by * max(1, focused.size.height - 1))

    def _sideways(self, by: int) -> None:
        app = self._app
        focused, shown = app.focused.id if app.focused is not None else None, app.state.snapshot
        if focused == "stages":
            self._fold(app.state.selected, unfolded=by > 0)
        elif focused == "tokens":
            app.submit(f"focus {max(0, min(len(shown.tokens) - 1, shown.focus + by))}")
        elif focused in app.panes and app.panes[focused].place is PaneSlot.TAB:
            self._step_tab(by)

    def _fold(self, address: str, *, unfolded: bool | None = None) -> None:
        state = self._app.state
        state.fold(address, unfolded=unfolded)
        if told := state.unfolded_parts(address):
            state.say(told)

    def _search(self, query: str) -> None:
        state = self._app.state
        self._found = self._index.matches(query, state.tokens(), state.snapshot.stages) if query else None
        if self._found is None:
            state.found = SearchHits()
            return
        state.found = SearchHits(query, frozenset(self._found.tokens), frozenset(self._found.stages))
        count = len(self._found.tokens) + len(self._found.stages)
        state.say(
            f"{len(self._found.tokens)} tokens and {len(self._found.stages)} stages" if count else "nothing found"
        )

    def _next_hit(self) -> None:
        """Go to the next hit: in the tokens when they have the keys or no stage was hit, else among the stages."""
        app, state = self._app, self._app.state
        if self._found is None or not (self._found.tokens or self._found.stages):
            state.say(
                f"nothing found for {state.found.query!r}" if state.found.query else "nothing to search for", "warn"
            )
            return
        stage, token = self._found.next_stage(state.selected), self._found.next_token(state.snapshot.focus)
        if stage is not None and (app.view.pane != "tokens" or token is None):
            state.select(stage)
            self.go_to_pane("stages")
            state.say(f"{stage}: one of {len(self._found.stages)} stages · / Enter goes to the next")
        else:
            self.go_to_pane("tokens")
            app.submit(f"focus {token}")

"""Everything the screen can do, once: keys, clicks, footer, help, palette and the `:` line are made from this list."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Action:
    """One thing the screen does. `command` is the debugger's command it stands for, if it is one.

    `label` is its footer entry and `weight` how much it deserves room there. `takes` names the argument it may be
    given when it is clicked or typed after `:`.
    """

    name: str
    keys: tuple[str, ...]
    help: str
    label: str = ""
    command: str = ""
    weight: int = 1
    takes: str = ""

    @property
    def shown_keys(self) -> str:
        """The keys as people read them."""
        return " ".join(map(shown_key, self.keys))


_SHOWN = {
    "question_mark": "?",
    "exclamation_mark": "!",
    "dollar_sign": "$",
    "colon": ":",
    "slash": "/",
    "space": "space",
    "escape": "Esc",
    "enter": "Enter",
    "tab": "Tab",
    "shift+tab": "Shift-Tab",
    "up": "↑",
    "down": "↓",
    "left": "←",
    "right": "→",
    "pageup": "PgUp",
    "pagedown": "PgDn",
    "home": "Home",
    "end": "End",
}


def shown_key(key: str) -> str:
    """One key as people read it: `?` for `question_mark`, `F5` for `f5`."""
    return _SHOWN.get(key, key.upper() if key.startswith("f") and key[1:].isdigit() else key)


ACTIONS = (
    Action("step", ("s", "f11"), "go to the next stage, into the modules of a layer", "into", "step", weight=2),
    Action("next", ("n", "f10"), "go to the next stage, over its modules", "over", "next", weight=2),
    Action(
        "finish",
        ("f",),
        "go out: to the end of the module, the layer, the forward or the token",
        "out",
        "finish",
        weight=2,
    ),
    Action("token", ("t",), "go to where the next token is chosen", "token", "token", weight=2),
    Action("continue", ("c", "f5"), "go on to the next breakpoint, or to the end", "continue", "continue", weight=2),
    Action("reverse_step", ("S",), "go back to the stage before, into modules", "back", "reverse-step", weight=0),
    Action("reverse_next", ("N",), "go back to the stage before, over modules", "", "reverse-next"),
    Action("reverse_token", ("T",), "go back to where the token before was chosen", "", "reverse-token"),
    Action("reverse_continue", ("C",), "go back to the last breakpoint, or to the beginning", "", "reverse-continue"),
    Action("until", ("enter",), "go on to the selected stage", takes="ADDRESS"),
    Action("pause", ("space",), "stop a run at its next stage"),
    Action("breakpoint", ("b", "f9"), "set or delete a breakpoint at the selected stage", "break", takes="ADDRESS"),
    Action("breakpoints", ("B",), "list the breakpoints; a click deletes one"),
    Action("goto", ("g",), "go to a stage you name, of any token: `12.mlp@3`"),
    Action("force", ("v",), "at `sample`, take another token: a new branch begins"),
    Action("branches", ("w",), "show the branches; `switch` goes to one", "", "branch"),
    Action("edits", ("E",), "show the edits; zero, scale, ablate, patch and edit make one", "", "edits"),
    Action("restart", ("r",), "start again from the prompt; breakpoints stay", "", "run"),
    Action("answer", ("a",), "show the answer so far, or the panes again", "answer", weight=0),
    Action("tokens", ("i",), "tokens as text, with their ids, or as a table", "ids", weight=0),
    Action("explain", ("e",), "say in plain English what has just happened", "explain", weight=0),
    Action("search", ("slash",), "search tokens and stages; Enter again goes to the next hit", "find", weight=0),
    Action("zoom", ("z",), "give the present pane the whole screen, or the others theirs back", "zoom", weight=0),
    Action("show", (), "go to a pane by its name", takes="PANE"),
    Action("next_pane", ("tab",), "go to the next pane"),
    Action("previous_pane", ("shift+tab",), "go to the pane before"),
    Action("up", ("up",), "select the stage above, or scroll"),
    Action("down", ("down",), "select the stage below, or scroll"),
    Action("page_up", ("pageup",), "a page up"),
    Action("page_down", ("pagedown",), "a page down"),
    Action("first", ("home",), "to the first line"),
    Action("last", ("end",), "to the last line"),
    Action("left", ("left",), "stages: fold; tokens: describe the position before; tabs: the one before"),
    Action("right", ("right",), "stages: unfold; tokens: describe the next position; tabs: the next one"),
    Action("select", (), "select a stage", takes="ADDRESS"),
    Action("fold", (), "show or hide the parts of a stage", takes="ADDRESS"),
    Action("focus", (), "describe another position", takes="POSITION"),
    Action("copy", ("y",), "copy the present pane to the clipboard (OSC 52) and to a file"),
    Action("screenshot", ("P",), "save the screen as SVG and as text"),
    Action("theme", (), "dark, light, or another theme by its name", takes="THEME"),
    Action("palette", ("p",), "find an action or a command by typing"),
    Action("command", ("colon",), "type a command, as with -ex (`help` lists them)", "command", weight=3),
    Action("close", ("escape",), "close what lies over the panes"),
    Action("help", ("question_mark",), "show this help", "help", weight=3),
    Action("quit", ("q",), "leave at once", "quit", weight=3),
)


def pane_action(name: str, key: str, about: str) -> Action:
    """The action that goes to a pane."""
    return Action(f"pane_{name}", (key,), f"go to {name}: {about}")

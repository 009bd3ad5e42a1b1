"""Everything a key can do, once: bindings, the footer and the help are made from this list."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Action:
    """One thing a key does. `command` is the command line it stands for, if it is one; `label` is its footer
    entry and `weight` how much it deserves room there.
    """

    name: str
    keys: tuple[str, ...]
    help: str
    label: str = ""
    command: str = ""
    weight: int = 1

    @property
    def shown_keys(self) -> str:
        """The keys as people read them."""
        return " ".join(_SHOWN.get(key, key.upper() if key.startswith("f") and key[1:] else key) for key in self.keys)


_SHOWN = {
    "question_mark": "?",
    "colon": ":",
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

ACTIONS = (
    Action("step", ("s", "f11"), "go to the next stage, into the modules of a layer", "into", "step"),
    Action("next", ("n", "f10"), "go to the next stage, over its modules", "over", "next"),
    Action("finish", ("f",), "go out: to the end of the module, the layer, the forward or the token", "out", "finish"),
    Action("token", ("t",), "go to where the next token is chosen", "token", "token"),
    Action("continue", ("c", "f5"), "go on to the next breakpoint, or to the end", "continue", "continue"),
    Action("until", ("enter",), "go on to the selected stage"),
    Action("pause", ("space",), "stop a run that is going on"),
    Action("breakpoint", ("b", "f9"), "set or delete a breakpoint at the selected stage", "break"),
    Action("restart", ("r",), "start again from the prompt; breakpoints stay", "", "run"),
    Action("answer", ("a",), "show the answer so far, or the panes again", "answer", weight=0),
    Action("next_pane", ("tab",), "go to the next pane"),
    Action("previous_pane", ("shift+tab",), "go to the pane before"),
    Action("pane_1", ("1",), "go to the tokens"),
    Action("pane_2", ("2",), "go to the stages"),
    Action("pane_3", ("3",), "go to the tensor"),
    Action("pane_4", ("4",), "go to the candidates"),
    Action("up", ("up",), "select the stage above, or scroll"),
    Action("down", ("down",), "select the stage below, or scroll"),
    Action("left", ("left",), "stages: fold a layer; tokens: describe the position before"),
    Action("right", ("right",), "stages: unfold a layer; tokens: describe the next position"),
    Action("command", ("colon",), "type a command, as with -ex (`help` lists them)", "command"),
    Action("close", ("escape",), "close what lies over the panes"),
    Action("help", ("question_mark",), "show this help", "help"),
    Action("quit", ("q",), "leave at once", "quit"),
)

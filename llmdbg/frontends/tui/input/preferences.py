"""The user's configuration file: theme, colours, glyphs, keys and layout. No error in it is fatal."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from llmdbg.files import read_regular
from llmdbg.formatting import did_you_mean, listed
from llmdbg.frontends.sanitize import sanitize
from llmdbg.frontends.tui.input.actions import ACTIONS, Action
from llmdbg.frontends.tui.input.key_names import takes_keys, textual_key, typed_key
from llmdbg.frontends.tui.input.last_layout import last_layout
from llmdbg.frontends.tui.presets import PRESETS
from llmdbg.frontends.tui.state.theme_names import THEMES

COLORS = ("auto", "truecolor", "256", "16", "none")
GLYPHS = ("auto", "unicode", "ascii")
LAST = "last"
STARTS = (LAST, *PRESETS)
_MOST_BYTES = 2**20
_CHOICES = {"theme": THEMES, "colors": COLORS, "glyphs": GLYPHS}
_WHAT = {
    "theme": "terminal uses the terminal's own 16 colours, mono none",
    "colors": "how many colours the terminal has",
    "glyphs": "ascii if the font or the connection has nothing else",
    "tokens_height": "lines, the frame included",
    "stages_width": "columns, the frame included",
}
_MOST_HOURS = 10_000
_BOUNDS = {"tokens_height": (3, 40), "stages_width": (20, 120)}


@dataclass(frozen=True, slots=True)
class Layout:
    """The layout to start with, and sizes in cells, including the frame."""

    tokens_height: int | None = None
    """Lines of the token pane; None leaves it to the layout."""
    stages_width: int | None = None
    """Columns of the stage pane; None leaves it to the layout."""
    start: str = LAST
    """The name of the layout to start with; `LAST` for the one that was chosen last."""

    def first(self) -> str:
        """The name of the layout to start with."""
        return last_layout() if self.start == LAST else self.start


@dataclass(frozen=True, slots=True)
class Detachable:
    """Whether the engine outlives its screen, and for how long."""

    always: bool = False
    """Whether it does without --detachable."""
    idle_hours: float = 12.0
    """After so many hours without a screen, in which nothing ran, it ends."""


@dataclass(frozen=True, slots=True)
class Preferences:
    """The user's settings, with defaults for the rest."""

    theme: str = "auto"
    """One of `THEMES`."""
    colors: str = "auto"
    """One of `COLORS`."""
    glyphs: str = "auto"
    """One of `GLYPHS`."""
    keys: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    """Textual key names by action, for the actions whose keys were changed."""
    layout: Layout = Layout()
    """The layout to start with, and sizes of panes."""
    detachable: Detachable = Detachable()
    """Whether the engine outlives its screen."""
    problems: tuple[str, ...] = ()
    """A sentence for each invalid setting in the file."""


def preferences_path() -> Path:
    """Where the configuration file is; on Linux `~/.config/llmdbg/config.toml`, or below `XDG_CONFIG_HOME`."""
    import platformdirs

    return platformdirs.user_config_path("llmdbg") / "config.toml"


def load_preferences(path: Path | None = None, actions: Sequence[Action] = ACTIONS) -> Preferences:
    """Read the configuration file. Never raises: an invalid setting keeps its default and is reported in `problems`.

    `actions` are those that may be given keys. A missing file is not an error.
    """
    path = preferences_path() if path is None else path
    try:
        table = tomllib.loads(read_regular(path, _MOST_BYTES).decode("utf-8-sig"))
    except FileNotFoundError:
        return Preferences()
    except OSError as error:
        return _unread(f"{path} cannot be read: {error.strerror or error}")
    except UnicodeDecodeError as error:
        return _unread(f"{path} is not UTF-8 (byte {error.start})")
    except RecursionError:
        return _unread(f"{path} is not TOML: it is nested too deeply")
    except ValueError as error:
        return _unread(f"{path} is not TOML: {error}")
    return _Reader(table, actions).preferences()


def _unread(problem: str) -> Preferences:
    return Preferences(problems=(sanitize(problem),))


class _Reader:
    """Reads a parsed file, and collects its problems."""

    def __init__(self, table: dict[str, Any], actions: Sequence[Action]) -> None:
        self._table, self._actions = table, actions
        self._problems: list[str] = []

    def preferences(self) -> Preferences:
        for name in self._table:
            self._known(name, (*_CHOICES, "layout", "detachable", "keys"), "setting")
        chosen = {name: self._choice(name, words) for name, words in _CHOICES.items()}
        sizes = {name: self._size(name) for name in _BOUNDS}
        layout = Layout(**sizes, start=self._choice("start", STARTS, "layout"))
        for name in self._section("layout"):
            self._known(name, (*_BOUNDS, "start"), "setting of [layout]")
        keys = MappingProxyType(self._keys())
        detachable = self._detachable()
        return Preferences(
            **chosen, layout=layout, keys=keys, detachable=detachable, problems=tuple(map(sanitize, self._problems))
        )

    def _choice(self, name: str, words: Sequence[str], section: str = "") -> str:
        value = (self._section(section) if section else self._table).get(name, words[0])
        # `colors = 256` can only mean one thing.
        word = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else None
        if word is not None and word in words:
            return word
        near = did_you_mean(word.lower(), words) if word is not None else ""
        full = f"{section}.{name}" if section else name
        self._problems.append(f"{full} = {_toml(value)}: it takes {listed(words, 'or')}{near}")
        return words[0]

    def _size(self, name: str) -> int | None:
        value = self._section("layout").get(name)
        if value is None:
            return None
        least, most = _BOUNDS[name]
        if isinstance(value, int) and least <= value <= most:
            return value
        self._problems.append(f"layout.{name} = {_toml(value)}: it takes a number from {least} to {most}")
        return None

    def _detachable(self) -> Detachable:
        found = dict(self._section("detachable"))
        for name in found:
            self._known(name, ("always", "idle_hours"), "setting of [detachable]")
        always, hours = found.get("always", False), found.get("idle_hours", Detachable().idle_hours)
        if not isinstance(always, bool):
            self._problems.append(f"detachable.always = {_toml(always)}: it takes true or false")
            always = False
        if isinstance(hours, bool) or not isinstance(hours, int | float) or not 0 < hours <= _MOST_HOURS:
            self._problems.append(f"detachable.idle_hours = {_toml(hours)}: it takes hours, up to {_MOST_HOURS:,}")
            hours = Detachable().idle_hours
        return Detachable(always, float(hours))

    def _keys(self) -> dict[str, tuple[str, ...]]:
        names = tuple(action.name for action in self._actions if takes_keys(action))
        return {
            name: keys
            for name, value in self._section("keys").items()
            if self._known(name, names, "action in [keys]") and (keys := self._keys_of(name, value)) is not None
        }

    def _keys_of(self, name: str, value: object) -> tuple[str, ...] | None:
        typed = [value] if isinstance(value, str) else value
        if not isinstance(typed, list) or not all(isinstance(each, str) for each in typed):
            self._problems.append(f'keys.{name} = {_toml(value)}: it takes a key or a list of keys, as ["s", "f11"]')
            return None
        found = []
        for each in typed:
            try:
                found.append(textual_key(each))
            except ValueError as error:
                self._problems.append(f"keys.{name}: {error}")
        # An empty list removes an action's keys; a list without a valid key leaves them as they were.
        return tuple(dict.fromkeys(found)) if found or not typed else None

    def _section(self, name: str) -> dict[str, Any]:
        value = self._table.get(name, {})
        if isinstance(value, dict):
            return value
        problem = f"{name} = {_toml(value)}: it is a section, begun by a line [{name}]"
        if problem not in self._problems:
            self._problems.append(problem)
        return {}

    def _known(self, name: str, names: Sequence[str], what: str) -> bool:
        if name in names:
            return True
        self._problems.append(f"there is no {what} {_toml(name)}{did_you_mean(name.lower(), names)}")
        return False


_LONGEST_SHOWN = 40


def _toml(value: object) -> str:
    text = f'"{value}"' if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"


def example(actions: Sequence[Action] = ACTIONS) -> str:
    """A configuration file with every setting at its default and commented out."""
    lines = ["# Settings of llmdbg. Remove a # to set one; `llmdbg doctor` shows the result.", ""]
    lines += [f'#{name} = "{words[0]}"  # {", ".join(words[1:])}: {_WHAT[name]}' for name, words in _CHOICES.items()]
    lines += ["", "[layout]"]
    lines.append(f'#start = "{STARTS[0]}"  # the layout chosen last, or one of {", ".join(STARTS[1:])}')
    for name, (least, most) in _BOUNDS.items():
        lines.append(
            f"#{name} = {_EXAMPLE_SIZES[name]}  # {least} to {most} {_WHAT[name]}; by default the screen decides"
        )
    lines += [
        "",
        "[detachable]",
        "#always = false  # true: as if every start had --detachable",
        f"#idle_hours = {Detachable().idle_hours:g}  # an engine ends after so long without a screen, if nothing runs",
    ]
    lines += ["", "[keys]  # a key or a list of keys for an action; [] for none"]
    lines += [
        f"#{action.name} = {keys_in_toml(action.keys)}  # {action.help}" for action in actions if takes_keys(action)
    ]
    return "\n".join(lines) + "\n"


_EXAMPLE_SIZES = {"tokens_height": 7, "stages_width": 47}


def keys_in_toml(keys: Sequence[str]) -> str:
    """Textual key names as the file spells them: `["s", "f11"]`."""
    return "[" + ", ".join(_quoted(typed_key(key)) for key in keys) + "]"


def _quoted(key: str) -> str:
    return f"'{key}'" if key in ('"', "\\") else f'"{key}"'

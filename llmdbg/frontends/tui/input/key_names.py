"""Names of keys, as users write them and as Textual names them, and which keys may never reach a program."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import replace

from llmdbg.formatting import did_you_mean
from llmdbg.frontends.tui.input.actions import Action

# Characters whose Textual name is not their Unicode name.
_RENAMED = {
    "solidus": "slash",
    "reverse_solidus": "backslash",
    "commercial_at": "at",
    "hyphen_minus": "minus",
    "plus_sign": "plus",
    "low_line": "underscore",
}
_NAMED = (
    *("space", "enter", "tab", "escape", "backspace", "delete", "insert", "up", "down", "left", "right"),
    *("home", "end", "pageup", "pagedown", *(f"f{number}" for number in range(1, 25))),
)
_ALIASES = {"esc": "escape", "return": "enter", "pgup": "pageup", "pgdn": "pagedown", "del": "delete", "ins": "insert"}
_MODIFIERS = ("ctrl", "alt", "shift")
_EATEN = {
    "ctrl+c": "it interrupts programs",
    "ctrl+z": "it suspends programs",
    "ctrl+backslash": "it kills programs",
    "ctrl+s": "terminals stop their output with it",
    "ctrl+q": "terminals go on with their output at it",
    "ctrl+b": "tmux keeps it for itself",
    "ctrl+a": "screen keeps it for itself",
    "ctrl+m": "terminals send it as enter",
    "ctrl+j": "terminals send it as enter",
    "ctrl+i": "terminals send it as tab",
    "ctrl+h": "terminals send it as backspace",
    "ctrl+left_square_bracket": "terminals send it as escape",
    "f1": "many terminals show their own help at it",
    "f10": "many terminals open their menu at it",
    "f11": "many terminals fill the screen at it",
}


def textual_key(typed: str) -> str:
    """Textual's name of a key as users write it: `?` is `question_mark`, `Ctrl-X` is `ctrl+x`.

    Raises ValueError with a sentence for an unknown key.
    """
    *modifiers, key = _parts(typed)
    held = [each.lower() for each in modifiers]
    if any(each not in _MODIFIERS for each in held):
        raise ValueError(f'there is no key "{typed}": before a key come ctrl, alt and shift, as in "ctrl+x"')
    if len(key) == 1:
        name = _of_character(key.lower() if "ctrl" in held else key)
        if held == ["shift"] and key.isalpha():
            return name.upper()
    else:
        word = key.lower()
        name = _ALIASES.get(word, word)
        if name not in _NAMED and not _names_a_character(name):
            raise ValueError(f'there is no key "{typed}"{did_you_mean(name, _NAMED)}')
    return "+".join((*(each for each in sorted(_MODIFIERS) if each in held), name))


def typed_key(key: str) -> str:
    """The opposite of `textual_key`: how a key is written in the configuration file."""
    *modifiers, name = key.split("+")
    return "+".join((*modifiers, _CHARACTERS.get(name, name)))


def takes_keys(action: Action) -> bool:
    """Whether an action can be given keys: not if only a click says what it acts on."""
    return bool(action.keys) or not action.takes


def bound(actions: Sequence[Action], keys: Mapping[str, Sequence[str]]) -> tuple[tuple[Action, ...], tuple[str, ...]]:
    """The actions with the user's `keys` (by action name) applied, and a sentence for each problem.

    A chosen key is taken from the action that has it by default. If it is chosen for two actions, the first gets
    it; the second keeps its defaults unless another key was chosen for it.
    """
    owner: dict[str, str] = {}
    for action in actions:
        for key in keys.get(action.name, ()):
            owner.setdefault(key, action.name)
    problems: list[str] = []
    result = []
    for action in actions:
        chosen = keys.get(action.name, action.keys)
        left = _kept(action, chosen, owner)
        if chosen and not left:
            left = _kept(action, action.keys, owner)
        if action.name not in keys:
            problems += _lost(action, left, owner)
        else:
            problems += _taken(action, chosen, left, owner)
            problems += _eaten(action, left)
        result.append(action if left == action.keys else replace(action, keys=left))
    return tuple(result), tuple(problems)


def _kept(action: Action, keys: Sequence[str], owner: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(key for key in keys if owner.get(key, action.name) == action.name)


def _lost(action: Action, left: tuple[str, ...], owner: Mapping[str, str]) -> list[str]:
    lost = [key for key in action.keys if key not in left]
    return [f'"{typed_key(key)}" is now {owner[key]}: {action.name} {_still(left)}' for key in lost]


def _taken(action: Action, chosen: Sequence[str], left: tuple[str, ...], owner: Mapping[str, str]) -> list[str]:
    return [
        f'"{typed_key(key)}" is chosen for {owner[key]} and for {action.name}: {owner[key]} has it, '
        f"{action.name} {_still(left)}"
        for key in chosen
        if owner[key] != action.name
    ]


def _eaten(action: Action, left: Sequence[str]) -> list[str]:
    if not all(key in _EATEN for key in left):
        return []
    return [f'"{typed_key(key)}" for {action.name} may never arrive: {_EATEN[key]}' for key in left]


def _still(left: Sequence[str]) -> str:
    return f"still has {' '.join(map(typed_key, left))}" if left else "has no key now"


def _parts(typed: str) -> list[str]:
    """A key and its modifiers. `+` and `-` separate them, and are keys themselves."""
    if len(typed) == 1:
        return [typed]
    *modifiers, key = re.split(r"(?<=.)[+-](?=.)", typed.strip())
    return [*modifiers, key]


def _of_character(character: str) -> str:
    if character.isalnum():
        return character
    name = unicodedata.name(character, "").lower().replace("-", "_").replace(" ", "_")
    if not name:
        raise ValueError(f'there is no key "{character}"')
    return _RENAMED.get(name, name)


_CHARACTERS = {
    _of_character(character): character for character in map(chr, range(0x21, 0x7F)) if not character.isalnum()
}


def _names_a_character(name: str) -> bool:
    return name in _CHARACTERS

"""The configuration file: what is read, and what is told about what cannot be."""

import tomllib
from dataclasses import replace

import pytest
from textual.keys import _character_to_key

from llmdbg.frontends.tui.input.actions import ACTIONS, Action
from llmdbg.frontends.tui.input.key_names import bound, takes_keys, textual_key, typed_key
from llmdbg.frontends.tui.input.preferences import (
    Detachable,
    Layout,
    Preferences,
    example,
    load_preferences,
    preferences_path,
)


@pytest.fixture
def loaded(tmp_path):
    """Loads a configuration file of some text or bytes."""

    def load(content):
        path = tmp_path / "config.toml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return load_preferences(path)

    return load


def test_the_file_is_where_xdg_says(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert preferences_path() == tmp_path / "llmdbg" / "config.toml"
    assert load_preferences() == Preferences()


def test_everything_can_be_set(loaded):
    found = loaded(
        """
        theme = "light"
        colors = 256
        glyphs = "ascii"
        [layout]
        tokens_height = 9
        stages_width = 50
        [keys]
        step = ["J", "space"]
        help = "?"
        quit = []
        """
    )
    assert (found.theme, found.colors, found.glyphs) == ("light", "256", "ascii")
    assert found.layout == Layout(tokens_height=9, stages_width=50)
    assert dict(found.keys) == {"step": ("J", "space"), "help": ("question_mark",), "quit": ()}
    assert found.problems == ()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('theem = "dark"', ('"theem"', "theme")),
        ('theme = "drak"', ('"drak"', "did you mean dark?")),
        ("theme = true", ("true", "auto, dark, light, terminal or mono")),
        ("glyphs = ['ascii']", ("glyphs", "auto, unicode or ascii")),
        ("colors = 17", ("colors", "truecolor")),
        ("layout = 3", ("[layout]",)),
        ("[layout]\nstage_width = 40", ('"stage_width"', "stages_width")),
        ("[layout]\nstages_width = 4000", ("layout.stages_width", "20 to 120")),
        ("[layout]\ntokens_height = true", ("layout.tokens_height", "3 to 40")),
        ("[keys]\nstpe = 's'", ('"stpe"', "step")),
        ("[keys]\nstep = 3", ("keys.step", "list of keys")),
        ("[keys]\nstep = 'entre'", ("keys.step", '"entre"', "did you mean enter?")),
        ("[keys]\nstep = 'strg+x'", ('"strg+x"', "ctrl, alt and shift")),
        ("[keys]\nselect = 'x'", ('"select"',)),
        ("theme = \n", ("not TOML", "line 1")),
        (b'theme = "\xff"', ("not UTF-8",)),
        ("a = " + "[" * 20_000, ("not TOML",)),
        ("a = " + "9" * 5_000, ("not TOML",)),
    ],
)
def test_what_cannot_be_is_one_sentence_and_the_default_holds(loaded, text, told):
    found = loaded(text)
    assert len(found.problems) == 1, found.problems
    assert all(words in found.problems[0] for words in told), found.problems[0]
    assert replace(found, problems=()) == Preferences()


def test_one_mistake_does_not_cost_the_rest(loaded):
    found = loaded('theme = "light"\nnonsense = 1\n[keys]\nstep = ["x", "nokey"]')
    assert found.theme == "light"
    assert found.keys["step"] == ("x",)
    assert len(found.problems) == 2


def test_text_of_the_file_is_data(loaded):
    found = loaded('"\\u001b[2J" = 1\n[keys]\n"\\u202e" = "x"\nstep = "\\u001b"')
    assert len(found.problems) == 3
    assert all(problem.isprintable() for problem in found.problems)


def test_a_file_that_cannot_be_read_is_told(tmp_path):
    found = load_preferences(tmp_path)
    assert len(found.problems) == 1
    assert "cannot be read" in found.problems[0]


def test_an_engine_outlives_its_screen_if_that_is_set(loaded):
    assert loaded("[detachable]\nalways = true\nidle_hours = 0.5").detachable == Detachable(True, 0.5)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('always = "yes"', 'detachable.always = "yes": it takes true or false'),
        ("idle_hours = 0", "detachable.idle_hours = 0: it takes hours, up to 10,000"),
        ("idle_hours = true", "detachable.idle_hours = true: it takes hours, up to 10,000"),
        ("idle_hours = inf", "detachable.idle_hours = inf: it takes hours, up to 10,000"),
        ("idle_hours = nan", "detachable.idle_hours = nan: it takes hours, up to 10,000"),
        ("hours = 1", 'there is no setting of [detachable] "hours"'),
    ],
)
def test_what_is_wrong_about_that_is_said(loaded, line, said):
    found = loaded(f"[detachable]\n{line}")
    assert found.detachable == Detachable()
    (problem,) = found.problems
    assert said in problem


def test_a_byte_order_mark_is_no_mistake(loaded):
    assert loaded(b'\xef\xbb\xbftheme = "dark"') == Preferences(theme="dark")


def test_the_example_names_every_setting_and_is_its_default(loaded):
    assert loaded(example()) == Preferences()
    everything = "\n".join(line.removeprefix("#") for line in example().splitlines()[1:])
    found = loaded(everything)
    assert found.problems == ()
    assert dict(found.keys) == {action.name: action.keys for action in ACTIONS if takes_keys(action)}
    assert set(tomllib.loads(everything)) == {"theme", "colors", "glyphs", "layout", "detachable", "keys"}
    assert None not in (found.layout.tokens_height, found.layout.stages_width)
    assert "#later = ['\"', " in example((keyed("later", "quotation_mark", "x", help="some day"),))


def test_keys_are_named_as_textual_names_them():
    for character in map(chr, range(0x20, 0x7F)):
        assert textual_key(character) == _character_to_key(character)
        assert textual_key(typed_key(_character_to_key(character))) == _character_to_key(character)


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("Esc", "escape"),
        ("PgUp", "pageup"),
        ("F5", "f5"),
        ("Ctrl-X", "ctrl+x"),
        ("shift+alt+up", "alt+shift+up"),
        ("shift+s", "S"),
        ("ctrl++", "ctrl+plus"),
        ("question_mark", "question_mark"),
    ],
)
def test_keys_as_people_write_them(typed, name):
    assert textual_key(typed) == name


@pytest.mark.parametrize("typed", ["", "f99", "spcae", "a+b", "+-", "ctrl+", "\x1b"])
def test_keys_there_are_not(typed):
    with pytest.raises(ValueError, match="there is no key"):
        textual_key(typed)


def keyed(name, *keys, help=""):
    """An action that does nothing."""
    return Action(name, keys, help, lambda _screen, _argument: None)


STEP, NEXT, QUIT = keyed("step", "s", "f11"), keyed("next", "n"), keyed("quit", "q")


def keys_after(keys):
    actions, problems = bound((STEP, NEXT, QUIT), keys)
    return {action.name: action.keys for action in actions}, problems


def test_unchosen_keys_stay():
    assert bound(ACTIONS, {}) == (ACTIONS, ())


def test_two_actions_may_change_keys():
    assert keys_after({"step": ("n",), "next": ("s",)}) == ({"step": ("n",), "next": ("s",), "quit": ("q",)}, ())


def test_a_chosen_key_is_taken_from_its_action_and_that_is_told():
    keys, problems = keys_after({"quit": ("s",), "next": ("j",)})
    assert keys == {"step": ("f11",), "next": ("j",), "quit": ("s",)}
    assert problems == ('"s" is now quit: step still has f11',)


def test_one_key_chosen_twice_belongs_to_the_first():
    keys, problems = keys_after({"step": ("x",), "quit": ("x", "y")})
    assert keys == {"step": ("x",), "next": ("n",), "quit": ("y",)}
    assert problems == ('"x" is chosen for step and for quit: step has it, quit still has y',)


def test_an_action_whose_only_key_another_has_keeps_its_defaults():
    keys, problems = keys_after({"step": ("x",), "quit": ("x",)})
    assert keys == {"step": ("x",), "next": ("n",), "quit": ("q",)}
    assert problems == ('"x" is chosen for step and for quit: step has it, quit still has q',)


def test_an_action_that_is_left_without_a_key_is_told():
    keys, problems = keys_after({"step": ("x", "q"), "quit": ("x",)})
    assert keys == {"step": ("x", "q"), "next": ("n",), "quit": ()}
    assert problems == ('"x" is chosen for step and for quit: step has it, quit has no key now',)


def test_keys_that_terminals_eat_are_told_unless_another_gets_through():
    keys, problems = keys_after({"quit": ("ctrl+s",)})
    assert keys["quit"] == ("ctrl+s",)
    assert len(problems) == 1
    assert "ctrl+s" in problems[0]
    assert keys_after({"quit": ("f10", "x")})[1] == ()

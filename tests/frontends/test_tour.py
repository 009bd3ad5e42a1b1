"""The tour without a screen, as text and as JSON Lines; what the command line makes of `--tour`."""

from __future__ import annotations

import io
import json

import pytest
from rich.cells import cell_len

from llmdbg.cli import main
from llmdbg.explain.tour_facts import GrowthPicture
from llmdbg.explain.tour_routes import PROMPT, tour_prompt
from llmdbg.frontends.tour import walk
from llmdbg.frontends.tour_drawing.base import draw
from tests.sessions import do, tiny_session


def test_text_tells_every_stop(capsys, tiny_folder) -> None:
    assert main([str(tiny_folder), "--tour", "-p", "The quick fox", "--batch", "-n", "3"]) == 0
    out = capsys.readouterr().out
    assert [line for line in out.splitlines() if line.startswith("stop ")] == [
        f"stop {number} of 13: {title}"
        for number, title in enumerate(
            [
                "your text becomes tokens",
                "tokens that are not text",
                "tokens become vectors",
                "numbers times weights, summed",
                "a position reads from others",
                "each position is processed by itself",
                "a layer adds to the vector",
                "layer by layer to the prediction",
                "every token gets a score",
                "settings change the chances",
                "the first token is chosen",
                "when it stops",
                "the second token: only one position",
            ],
            1,
        )
    ]
    assert "(the prefill)" in out
    assert "▶ " in out, "the pictures are drawn as text"
    assert "what the model computed" in out


def test_json_has_an_event_for_every_stop(capsys, tiny_folder) -> None:
    arguments = [str(tiny_folder), "--tour", "-p", "The quick fox", "--batch", "--json", "-n", "3"]
    arguments += ["--temperature", "0.7"]
    assert main(arguments) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    stops = [event for event in events if event["event"] == "tour"]
    assert [event["stop"] for event in stops] == list(range(1, stops[0]["of"] + 1))
    assert events[-1]["event"] == "end"
    for event in stops:
        assert event["title"]
        assert event["key"]
        assert event["picture"]
        assert event["facts"]["topic"]
        assert event["explanation"]["plain"]
        assert event["explanation"]["facts"]["stage"]["address"]


@pytest.mark.parametrize("name", ["mamba", "gpt2", "mixtral", "opt"])
def test_other_architectures_have_their_own_stops(name: str) -> None:
    out = io.StringIO()
    session = tiny_session(name)
    assert walk(session, out) == out.getvalue().count("\nstop ") + 1
    has_attention = "a position reads from others" in out.getvalue()
    assert has_attention == (name != "mamba")


def test_a_hostile_token_is_shown_and_not_obeyed() -> None:
    out = io.StringIO()
    walk(tiny_session("llama", text="a\x1b[31m\x07b"), out)
    assert "\x1b" not in out.getvalue()
    assert "\x07" not in out.getvalue()


def test_the_prompt_that_is_given_when_none_is() -> None:
    assert tour_prompt(None) == tour_prompt("smollm2") == (PROMPT, True)
    assert tour_prompt("gpt2") == (PROMPT, False)
    assert tour_prompt("mistralai/Mistral-7B-Instruct-v0.3") == (PROMPT, True)


def test_without_a_prompt_a_folder_is_asked_the_default_question(capsys, tiny_folder) -> None:
    assert main([str(tiny_folder), "--tour", "--batch", "-n", "3"]) == 0
    assert "your text becomes tokens" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--tour"], "terminal"),
        (["--tour", "mistrl"], "did you mean mistral?"),
        (["--tour", "smollm2"], "a MODEL comes before --tour"),
        (["--tour", "--resume"], "leave out --resume"),
        (["--tour", "--batch", "-b", "0"], "leave out -b"),
    ],
)
def test_bad_usage_is_one_line(capsys, arguments, words) -> None:
    assert main(arguments) == 2
    assert words in capsys.readouterr().err


def test_tour_is_a_command_too(capsys, tiny_folder) -> None:
    arguments = [str(tiny_folder), "-p", "The quick fox", "--batch", "-n", "1"]
    assert main([*arguments, *(["-ex", "tour"] * 12), "-ex", "explain"]) == 0
    out = capsys.readouterr().out
    assert "that was the last stop of the tour" in out
    assert "sample: a token is chosen" in out


def test_past_the_tour_no_stop_is_called_its_last() -> None:
    session = tiny_session()
    do(session, "continue")
    past = "the run is past the stops of the tour: `goto tokenize` goes back to the first of them"
    assert do(session, "tour").data.startswith(past)
    do(session, "goto tokenize")
    places = [do(session, "tour").stop.stage.address for _ in range(3)]
    assert places[:2] == ["tokenize", "embed"]
    do(session, "goto embed@1")
    assert do(session, "tour").data.startswith("that was the last stop of the tour")


@pytest.mark.parametrize("settings", [[], ["--temperature", "0.8"]])
def test_how_a_run_is_repeated_is_said_with_and_without_sampling(capsys, tiny_folder, settings) -> None:
    assert main([str(tiny_folder), "--tour", "-p", "The quick fox", "--batch", "-n", "3", *settings]) == 0
    out = capsys.readouterr().out
    assert "the same seed repeats the run" in out
    assert "at random" in out


def test_a_model_without_attention_is_not_said_to_have_some() -> None:
    out = io.StringIO()
    walk(tiny_session("mamba"), out)
    assert "A layer does not replace the vector but adds to it." in out.getvalue()
    assert "attention adds" not in out.getvalue()


def test_layers_that_the_growth_has_no_room_for_are_counted() -> None:
    picture = GrowthPicture(tuple((str(at), 1.0 + at, None, None) for at in range(8)), "")
    for width in (40, 76):
        short, whole = draw(picture, width, 5), draw(picture, width, 8)
        assert [len(short), len(whole)] == [5, 8]
        assert max(sum(cell_len(text) for text, _ in line) for line in short) <= width
    assert "(3 layers left out: no room)" in "".join(text for text, _ in short[0])
    assert not any("left out" in text for line in whole for text, _ in line)

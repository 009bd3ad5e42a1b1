"""The program in a real terminal: a pty, and what its user would see."""

import sys
import time

import pytest

from tests.terminal import Terminal


@pytest.fixture
def terminal():
    opened = []

    def start(*arguments, **settings):
        opened.append(Terminal(sys.executable, "-m", "llmdbg", *map(str, arguments), **settings))
        return opened[-1]

    yield start
    for each in opened:
        each.close()


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
def test_from_prompt_to_answer(terminal, tiny_folder, size):
    seen = terminal(tiny_folder, "-p", "The quick brown fox", "-n", "6", "--greedy", size=size)
    seen.wait_for("tokenize")
    seen.wait_for("The·quick·brown·fox")
    seen.send("nn")
    seen.wait_for("layer 0 of 3")
    seen.send("s")
    seen.wait_for("input_layernorm")
    seen.send("t")
    seen.wait_for("the next token is chosen")
    seen.send("c")
    seen.wait_for("answer")
    seen.wait_for("6 tokens")
    seen.send("q")

    assert seen.wait_for_exit() == 0
    assert b"\x1b[?1049l" in seen.received, "the terminal is given back as it was"


def test_at_rest_nothing_is_sent(terminal, tiny_folder):
    seen = terminal(tiny_folder, "-p", "The quick brown fox", "-n", "6", "--greedy")
    seen.wait_for("The·quick·brown·fox")
    seen.send("n")
    seen.wait_for("embed ")
    seen.read(1.0)
    before = len(seen.received)
    seen.read(2.0)

    assert len(seen.received) == before


def test_leaving_in_the_middle_of_a_long_run_is_at_once(terminal):
    """The demo model runs 400 tokens here; nobody waits for them."""
    seen = terminal("smollm2", "-p", "Once upon a time", "-n", "400", "--greedy")
    seen.wait_for("tokenize")
    seen.wait_for("Once")
    seen.send("c")
    seen.wait_for("running")
    started = time.monotonic()
    seen.send("q")

    assert seen.wait_for_exit() == 0
    assert time.monotonic() - started < 5


def test_leaving_while_loading_is_at_once(terminal, tiny_folder):
    seen = terminal(tiny_folder, "-p", "The quick")
    seen.wait_for("starting")
    started = time.monotonic()
    seen.send("q")

    assert seen.wait_for_exit() == 0
    assert time.monotonic() - started < 10


def test_a_model_that_cannot_be_loaded_is_one_line_in_the_terminal(terminal, a_copy):
    folder = a_copy()
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:4000])
    seen = terminal(folder, "-p", "The quick", size=(200, 24))

    assert seen.wait_for_exit(60) == 1
    after = seen.received.rpartition(b"\x1b[?1049l")[2].decode()
    assert "cut short" in after
    assert "Traceback" not in after


def test_hostile_text_does_not_reach_the_terminal(terminal, tiny_folder):
    seen = terminal(tiny_folder, "-p", "fox \x1b]0;owned\x07 \u202e", "-n", "2", "--greedy")
    seen.wait_for("fox")
    seen.send("c")
    seen.wait_for("answer")

    assert b"]0;owned" not in seen.received.replace("␛".encode(), b"") or b"\x1b]0;owned" not in seen.received
    assert "\u202e".encode() not in seen.received

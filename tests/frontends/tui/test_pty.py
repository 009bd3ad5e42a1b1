"""The program in a real terminal: a pty, and what its user would see."""

import re
import signal
import sys
import termios
import time

import pytest

from llmdbg.models.load_steps import LoadStep
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
    before, taken, rest = seen.received.partition(b"\x1b[?1049h")
    _, given_back, after = rest.rpartition(b"\x1b[?1049l")
    assert taken, "it is taken over"
    assert given_back, "the terminal is given back as it was"
    assert not re.search(rb"\x1b\[[\d;]*[A-HfG]", before + after), "and the shell goes on where it was"


@pytest.mark.slow
def test_at_rest_nothing_is_sent(terminal, tiny_folder):
    seen = terminal(tiny_folder, "-p", "The quick brown fox", "-n", "6", "--greedy")
    seen.wait_for("The·quick·brown·fox")
    seen.send("n")
    seen.wait_for("embed ")
    seen.read(1.0)
    before = len(seen.received)
    seen.read(2.0)

    assert len(seen.received) == before


@pytest.mark.slow
@pytest.mark.parametrize(("shows", "way_on"), [("loading the weights", ""), ("split into", "; `llmdbg --resume`")])
def test_once_it_was_killed_only_a_saved_session_is_promised(terminal, tiny_folder, shows, way_on):
    seen = terminal(tiny_folder, "-p", "The quick brown fox", "-n", "6", "--greedy")
    seen.wait_for(shows)
    if way_on:
        seen.send("n")
        seen.wait_for("embed ")
    seen.process.kill()
    seen.wait_for_bytes(f"llmdbg: it was killed{way_on}".encode())
    assert bool(way_on) == (b"--resume" in seen.received)


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_model_that_cannot_be_loaded_is_one_line_in_the_terminal(terminal, a_copy):
    folder = a_copy()
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:4000])
    seen = terminal(folder, "-p", "The quick", size=(200, 24))

    assert seen.wait_for_exit(60) == 1
    after = seen.received.rpartition(b"\x1b[?1049l")[2].decode()
    assert "truncated" in after
    assert f"llmdbg: while {LoadStep.WEIGHTS}: " in after
    assert "Traceback" not in after


@pytest.mark.slow
def test_hostile_text_does_not_reach_the_terminal(terminal, tiny_folder):
    seen = terminal(tiny_folder, "-p", "fox \x1b]0;owned\x07 \u202e", "-n", "2", "--greedy")
    seen.wait_for("fox")
    seen.send("c")
    seen.wait_for("answer")

    assert "␛]0;owned" in seen.text
    assert b"\x1b]0;owned" not in seen.received
    assert "\u202e".encode() not in seen.received


def opened(terminal, folder, **settings):
    seen = terminal(folder, "-p", "The quick brown fox", "-n", "6", "--greedy", **settings)
    seen.wait_for("The·quick·brown·fox")
    return seen


@pytest.mark.slow
def test_a_paste_is_inserted_in_order_and_never_run(terminal, tiny_folder):
    seen = opened(terminal, tiny_folder)
    seen.send(":un\x1b[200~til 1\x1b[31m\x07\nnext\n\x1b[201~!")
    seen.wait_for("until 1␛[31m‹U+0007› next !")
    seen.read(0.5)
    assert "tokenize " in seen.text.splitlines()[0], "nothing was run"
    seen.send("\x15until 1\r")
    seen.wait_for("layer 1 of 3")
    seen.send("\x1b[200~q\x1b[Bc\nn\x1b[201~")
    seen.read(0.5)
    assert "layer 1 of 3" in seen.text, "where nothing is typed a paste counts as no keys"


@pytest.mark.slow
def test_keys_typed_ahead_are_done_in_order(terminal, tiny_folder):
    """What followed Enter was once inserted in the line, and `deletec` was run."""
    seen = opened(terminal, tiny_folder)
    seen.send(":break 1\r:break 2\rc")
    seen.wait_for("layer 1 of 3")
    seen.wait_for("● 2")
    seen.send(":delete\rc")
    seen.wait_for("6 tokens")
    seen.send("r/quick\ri")
    seen.wait_for("·qu")
    assert "nothing found" not in seen.text
    seen.send("q")
    assert seen.wait_for_exit() == 0


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("running", [False, True])
def test_a_signal_gives_the_terminal_back(terminal, tiny_folder, number, running):
    if running:
        seen = terminal("smollm2", "-p", "Once upon a time", "-n", "400", "--greedy")
        seen.wait_for("Once")
        seen.send("c")
        seen.wait_for("running")
    else:
        seen = opened(terminal, tiny_folder)
    raw = seen.line_settings
    assert not raw[3] & (termios.ICANON | termios.ECHO)
    seen.process.send_signal(number)

    assert seen.wait_for_exit(3) == 128 + number
    assert seen.line_settings[3] & termios.ICANON
    assert seen.line_settings[3] & termios.ECHO
    for mode in ("1049", "1000", "1003", "1006", "2004", "1004"):
        on, off = (seen.received.rfind(f"\x1b[?{mode}{end}".encode()) for end in "hl")
        assert -1 < on < off, mode
    assert seen.received.rfind(b"\x1b[?25h") > seen.received.rfind(b"\x1b[?25l")
    assert b"\x1b[" not in seen.received.rpartition(b"\x1b[?1004l")[2], "nothing is drawn after it"


@pytest.mark.slow
@pytest.mark.parametrize("pieces", [("\x1b]11;rgb:ffff/ffff/ffff\x1b\\",), ("\x1b", "]11;rgb:ff/ff/", "ff\x07")])
def test_a_terminal_with_a_light_background_gets_light_colours(terminal, tiny_folder, pieces):
    seen = terminal(tiny_folder, "-p", "The quick brown fox", "-n", "6", "--greedy")
    seen.wait_for_bytes(b"\x1b]11;?\x1b\\")
    for piece in pieces:
        seen.send(piece)
        time.sleep(0.02)
    seen.wait_for("The·quick·brown·fox")
    assert b"48;2;244;245;247m" in seen.received
    assert "tokenize " in seen.text.splitlines()[0]


@pytest.mark.slow
@pytest.mark.parametrize("term", ["linux", "vt100", "dumb", "screen-256color"])
def test_terminals_that_may_print_the_question_are_not_asked(terminal, tiny_folder, term):
    seen = terminal(tiny_folder, "-p", "The quick brown fox", environment={"TERM": term, "STY": None, "TMUX": None})
    seen.wait_for("The")
    seen.wait_for("brown")
    assert b"]11;?" not in seen.received

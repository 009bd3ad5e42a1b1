"""What somebody typed or wrote is quoted in a message, at a length that can be read."""

import json

import pytest

from llmdbg import open_session
from llmdbg.cli import main
from llmdbg.errors import LlmdbgError, SettingsError, UsageError
from llmdbg.frontends import output

LONG = "9" * 100_000
MOST = 3_100


@pytest.mark.parametrize("json_lines", [False, True])
@pytest.mark.parametrize(
    "arguments",
    [
        [LONG, "-p", "hi", "--batch"],
        [f"/{LONG}", "-p", "hi", "--batch"],
        ["FOLDER", "-p", "hi", "--batch", "--top-k", "9" * 4_000],
        ["FOLDER", "-p", "hi", "--batch", "--top-k", LONG],
        ["FOLDER", "-p", "hi", "--batch", "--dtype", LONG],
        ["FOLDER", "-p", "hi", "--batch", "--device", LONG],
        ["FOLDER", "-p", "hi", "--batch", f"--{LONG}"],
        ["FOLDER", "-p", "hi", "--batch", "a " * 50_000],
        ["FOLDER", "-p", "hi", "--batch", "-b", LONG],
        ["FOLDER", "-p", "hi", "--batch", "-b", "a " * 50_000],
        ["FOLDER", "-p", "hi", "--batch", "-ex", LONG],
        ["FOLDER", "-p", "hi", "--batch", "-ex", f"print {LONG}+"],
        ["FOLDER", "-p", "hi", "--batch", "-ex", f"ban {LONG}"],
        ["FOLDER", "-p", "hi", "--batch", "-ex", f"set top_k {LONG}"],
        ["FOLDER", "-p", "hi", "--batch", "-ex", f"info stage > {LONG}"],
        ["FOLDER", "--prompt-file", LONG, "--batch"],
        ["FOLDER", "-p", "hi", "-x", LONG, "--batch"],
        ["--resume", LONG, "--batch"],
        ["doctor", LONG],
    ],
    ids=lambda arguments: " ".join(each[:20] for each in arguments),
)
def test_an_argument_of_any_length_makes_a_line_that_can_be_read(capfd, tiny_folder, arguments, json_lines):
    given = [str(tiny_folder) if each == "FOLDER" else each for each in arguments]
    assert main([*given, "--json"] if json_lines else given) == 2
    out, err = capfd.readouterr()
    assert "a bug in llmdbg" not in err
    [line] = [each for each in err.splitlines() if each.startswith("llmdbg: ")]
    assert len(line) < MOST
    assert all(len(each) < MOST + 200 for each in out.splitlines() if '"error"' in each)


def test_whatever_raises_it_and_wherever_it_is_shown():
    for kind in (LlmdbgError, UsageError, SettingsError):
        assert len(str(kind(f"no {LONG}"))) < MOST
    with pytest.raises(LlmdbgError) as caught:
        open_session(LONG, "hi")
    assert len(str(caught.value)) < MOST


def test_a_note_of_any_length_is_short_and_what_a_users_own_code_prints_is_whole(capsys):
    output.note(LONG)
    assert len(capsys.readouterr().err) < MOST
    output.narrate(LONG)
    assert len(capsys.readouterr().err) == len(LONG) + 1


def test_a_model_that_names_things_of_any_length(capfd, a_copy):
    path = a_copy() / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "model_type": LONG}))
    assert main([str(path.parent), "-p", "hi", "--batch"]) != 0
    assert all(len(each) < MOST for each in capfd.readouterr().err.splitlines())

"""Every command's grammar: pure, complete, and said in its usage."""

import sys
from unittest import mock

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from llmdbg.debugger.commands import COMMANDS, Effect
from llmdbg.debugger.inspection.topics import TOPICS
from llmdbg.errors import AddressError, CommandError, LlmdbgError
from llmdbg.probes.quantities import NAMES
from tests.sessions import do, tiny_session

COMMAND_NAMES = [command.name for command in COMMANDS]
by_name = pytest.mark.parametrize("command", COMMANDS, ids=COMMAND_NAMES)


def arguments(line):
    return line.partition(" ")[2]


def parses(command, text):
    try:
        command.parse(text)
    except LlmdbgError:
        return False
    return True


@by_name
def test_the_example_parses(command):
    parsed = COMMANDS.parse(command.example)
    assert parsed.command is command
    assert hash(parsed.parsed) == hash(command.parse(arguments(command.example)))


@by_name
def test_the_usage_names_what_the_grammar_takes(command):
    written = arguments(command.usage)
    assert command.usage == f"{command.name} {written}".strip()
    # Words outside brackets are required; without any, the name alone will do.
    optional, depth = "", 0
    for character in written:
        depth += (character == "[") - (character == "]")
        optional += "" if depth or character == "]" else character
    assert parses(command, "") == (not optional.strip()), "what is not in brackets is required"
    if not written:
        assert not parses(command, "anything")
    if arguments(command.example):
        assert written, "its example is given something"
    for word in ("ADDRESS", "N", "COUNT", "EXPRESSION", "TOKEN", "TOPIC", "FILE", "POSITION", "BRANCH", "PYTHON"):
        if optional.split()[:1] == [word]:
            with pytest.raises(CommandError, match=f"needs .*{word}"):
                command.parse("")


@by_name
def test_no_two_commands_share_a_name(command):
    for word in (command.name, *command.aliases):
        assert COMMANDS.find(word) is command


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("trace if norm > 1", "trace needs ADDRESS, as in `trace"),
        ("tbreak if norm > 1", "tbreak needs ADDRESS"),
        ("watch top1 at ", "at character 6 of 'top1 at': syntax error"),
        ("until 1 if token > 2", "until takes an ADDRESS alone: conditions belong to `break`"),
        ("goto 1 if token > 2", "goto takes an ADDRESS alone"),
        ("focus left", "focus takes `last` or a position, not 'left'"),
        ("focus " + "9" * 5000, "focus takes `last` or a position"),
        ("focus ²", "focus takes"),
        ("info", "info needs TOPIC: one of tokens"),
        ("info stats 3", "info stats takes no arguments, not '3'"),
        ("info lens >", "name one file after `>`"),
        ("x 1 > a > b", "name one file after `>`"),
        ("ignore 1", "ignore needs N COUNT, as in `ignore 1 3`"),
        ("ignore 1 -3", "ignore takes a whole number of 1 or more, not '-3'"),
        ("condition x norm > 3", "condition takes a whole number of 1 or more, not 'x'"),
        ("condition 1 nrom > 3", "the nearest is 'norm'"),
        ("commands 1 fly", "there is no command 'fly'"),
        ("commands 1 " + "; ".join(["step"] * 201), "commands takes 200 commands of 2000 characters at most"),
        ("set temprature 1", "set knows .*, not 'temprature'"),
        ("set temperature", "set temperature takes a number, or `default` for the model's own, not ''"),
        ("set top-k 1.5", "set top_k takes a whole number"),
        ("set greedy yes", "set greedy takes on or off, not 'yes'"),
        ("branch 1st", "a branch name is letters"),
        ("compare main x", "compare takes the number of a token, not 'x'"),
        ("edits of 1", "edits takes on or off and a number"),
        ("undo x", "undo takes a whole number of 1 or more, not 'x'"),
        ("edits on x", "edits takes a whole number of 1 or more, not 'x'"),
        ("save tensor 1 x.bin", r"'x\.bin' must end in \.safetensors"),
        ("source a\0b", "cannot be the name of a file"),
        ("force", "force needs TOKEN: an id, or a text in quotes"),
        ("print", r"print needs PYTHON: as in `print out\.max\(\)`"),
        ("zero", r"zero needs ADDRESS \[at POSITIONS\], as in `zero 0\.mlp at last`"),
        ("help fly", "there is no command 'fly'"),
    ],
)
def test_what_does_not_fit_is_refused_without_a_session(line, message):
    with pytest.raises(CommandError, match=message):
        COMMANDS.parse(line)


def test_a_folder_of_nobody_s_is_refused_when_it_is_needed():
    line = "save tensor 0 ~nobody-is-called-so/x.safetensors"
    assert COMMANDS.parse(line).addresses == ("0",)
    session = tiny_session()
    do(session, "until 0")
    with pytest.raises(CommandError, match="no such user"):
        do(session, line)


@pytest.mark.parametrize(
    ("line", "addresses"),
    [
        ("until layer 12@3", ("layer 12@3",)),
        ("break 1.mlp if norm > 3", ("1.mlp",)),
        ("tbreak jump 3", ()),
        ("trace layers 0-1 norm, top1 if token > 2", ("layers 0-1",)),
        ("watch norm at 0-1", ("0-1",)),
        ("watch norm", ()),
        ("save tensor layer 1 x.safetensors", ("layer 1",)),
        ("step 3", ()),
    ],
)
def test_the_addresses_that_a_line_names(line, addresses):
    assert COMMANDS.parse(line).addresses == addresses
    for address in addresses:
        with pytest.raises(AddressError):
            tiny_session().run.stages.addresses.resolve(address.replace("1", "77").replace("0-", "70-"))


@pytest.mark.parametrize(
    ("line", "beyond"),
    [
        ("step", ()),
        ("info lens", ()),
        ("info lens > lens.csv", ("write a file",)),
        ("x 1", ()),
        ("x > x.txt", ("write a file",)),
        ("save tensor 1 x.safetensors", ("write a file",)),
        ("source look.txt", ("read a file", "run Python")),
        ("print 1", ("run Python",)),
        ("edit out", ("run Python",)),
        ("edits on 1", ("run Python",)),
        ("commands 1 step", ("run Python",)),
        ("zero 1", ()),
        ("break 1", ()),
        ("set temperature 1", ()),
    ],
)
def test_what_a_line_may_do_beyond_the_session(line, beyond):
    effect = COMMANDS.parse(line).effect
    assert effect.beyond_session() == beyond
    assert (effect in Effect.HARMLESS) == (not beyond)


@by_name
def test_what_takes_python_or_a_file_says_so(command):
    for word, effects in (("PYTHON", Effect.RUNS_PYTHON), ("COMMAND;", Effect.RUNS_PYTHON)):
        assert word not in command.usage or effects in command.effect
    if command.usage.split()[-1:] == ["FILE"]:
        assert command.effect & (Effect.READS_FILE | Effect.WRITES_FILE)
    assert command.effect


_WORDS = [
    *NAMES, *TOPICS, *COMMAND_NAMES, *"()[]<>@*.,;'\"\\~/\0", "if", "at", " if ", " at ", " > ", "tensor", "layer ",
    "on", "off", "last", "default", "12", "0", "-1", "1e999", "9" * 20, "9" * 5000, "²", "٣", "\ud800", "\u202e", "\n",
    "x.safetensors", "~nobody/x.safetensors", "changed(", "rank('a')", "heads=", "from main", "nonfinite", "jump",
    "surprise", "greedy",
]  # fmt: skip
_TYPED = st.lists(st.sampled_from(_WORDS) | st.text(max_size=5), max_size=8)
_TEXTS = st.text(max_size=60) | _TYPED.map("".join) | _TYPED.map(" ".join)

_happened: list[str] | None = None


def _hear(event, _):
    if _happened is not None:
        _happened.append(event)


sys.addaudithook(_hear)  # files, processes, sockets and code that is run all announce themselves to it


def read_or_refused(parse, text):
    """What `parse` makes of a text, twice, and that the world was left alone."""
    global _happened
    found = []
    for _ in range(2):
        _happened = []
        try:
            # Looking whether a file is there announces itself to nobody.
            with mock.patch("os.stat", lambda *_, **__: _hear("os.stat", ())):
                found.append(parse(text))
        except LlmdbgError as refused:
            found.append((type(refused), str(refused)))
        finally:
            # A condition is read by Python's own parser, which runs nothing.
            done, _happened = set(_happened) - {"compile"}, None
        assert not done
    # A NaN is not equal to itself.
    assert found[0] == found[1] or repr(found[0]) == repr(found[1])


@by_name
@settings(deadline=None, max_examples=60)
@given(text=_TEXTS)
def test_any_text_is_read_or_refused_and_nothing_else_happens(command, text):
    read_or_refused(command.parse, text)


@settings(deadline=None, max_examples=300)
@given(st.tuples(st.sampled_from(COMMAND_NAMES), _TEXTS).map(" ".join) | _TEXTS)
@example("")
@example("commands 1 " * 300)
def test_any_line_is_read_or_refused_and_nothing_else_happens(line):
    read_or_refused(COMMANDS.parse, line)

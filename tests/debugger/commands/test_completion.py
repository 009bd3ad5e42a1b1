"""What is offered at the cursor, and that no command refuses what was."""

import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmdbg.debugger.breakpoints.addresses import AddressBook
from llmdbg.debugger.commands import COMMANDS, Effect, Quit, Registry, completion
from llmdbg.debugger.commands.completion import common, complete
from llmdbg.debugger.commands.grammar.addresses import Address
from llmdbg.debugger.commands.grammar.plain import Nothing
from llmdbg.debugger.commands.saving import SavedTensor
from llmdbg.debugger.commands.stopping import BreakpointNumber
from llmdbg.debugger.commands.words import Words
from llmdbg.explain.glossary import TERM_NAMES
from llmdbg.models.anatomy import dissect
from llmdbg.models.stages import Stage, StageKind
from llmdbg.probes.quantities import NAMES
from tests.sessions import tiny_session
from tests.tiny import tiny_model

ACTIONS = [("zoom", "zoom this pane to the whole screen"), ("theme", "choose the colours")]
PROCESSOR = Stage(StageKind.PROCESSOR, "sample.top_p")


def words_of(session):
    stages, points = session.run.stages.all(), session.breakpoints.list()
    names = [each.name for each in session.run.branches]
    here = session.run.branches.current.name
    return Words.of(stages, points, len(session.run.tokens()), ACTIONS, {"theme": ("dark", "light")}, names, here)


@pytest.fixture(scope="module")
def words():
    session = tiny_session(temperature=0.8, top_p=0.9)
    for address in ("0", "1", "norm"):
        COMMANDS.run(session, f"break {address}")
    return words_of(session)


def options(line, words, cursor=None):
    return complete(line, len(line) if cursor is None else cursor, words).options


def filled(line, words):
    """The lines that come of taking each option."""
    found = complete(line, len(line), words)
    return [line[: found.start] + option + line[found.end :] for option in found.options]


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("b", ("break", "ban", "branch", "backtrace")),
        ("  br", ("break", "branch")),
        ("t", ("token", "tbreak", "trace", "tour", "theme")),
        ("z", ("zero", "zoom")),
        ("xyz", ()),
        ("xyz ", ()),
        ("theme ", ("dark", "light")),
        ("th l", ("light",)),
        ("zoom ", ()),
        ("tour ", ("model", "mistral", "back")),
        ("tour mi", ("mistral",)),
        ("run ", ()),
        ("step ", ()),
        ("info b", ("beams", "breakpoints", "branches")),
        ("i sta", ("stage", "stats")),
        ("info attention ", ("attention 0", "attention 1")),
        ("info values 1.ml", ("values 1.mlp",)),
        ("x 1.ml", ("1.mlp",)),
        ("info stats ", ()),
        ("info nothing 1", ()),
        ("help tb", ("tbreak",)),
        ("h b", ("break", "ban", "branch", "backtrace")),
        ("help zo", ()),
        ("delete ", ("1", "2", "3")),
        ("enable 2", ("2",)),
        ("d 4", ()),
        ("focus l", ("last",)),
        ("focus ", ("last", "0", "1", "2", "3", "4", "5", "6", "7", "8", "9")),
        ("focus 1", ("1", "10")),
        ("focus 11", ()),
        ("focus 01", ()),
        ("break e", ("embed",)),
        ("break l", ("lm_head", "logits")),
        ("break la", ("layer ",)),
        ("break layer ", ("0", "1")),
        ("break layer 1.ml", ("1.mlp",)),
        ("break layers *.ml", ("*.mlp",)),
        ("break layer e", ()),
        ("until 1.self_attn.q", ("1.self_attn.q_proj",)),
        ("break 1.", ("1.self_attn", "1.mlp", "1.input_layernorm", "1.post_attention_layernorm")),
        ("tbreak *.ml", ("*.mlp",)),
        ("break [01].ml", ("[01].mlp",)),
        ("break 0-", ("0-0", "0-1")),
        ("break 1-", ("1-1",)),
        ("break 0-1.ml", ("0-1.mlp",)),
        ("break 0-7.", ()),
        ("break 1-0.", ()),
        ("break mo", ("model.",)),
        ("break model.layers.", ("model.layers.0", "model.layers.1")),
        ("break model.layers.1.mlp.u", ("model.layers.1.mlp.up_proj",)),
        ("break sample", ("sample", "sample.temperature", "sample.top_k", "sample.top_p")),
        ("break 1@", ()),
        ("break .", ()),
        ("break 1 ", ()),
        ("break nothing", ()),
        ("zero 1.ml", ("1.mlp",)),
        ("zero tok", ()),
        ("gra", ("patch",)),
        ("graft 1.ml", ()),
    ],
)
def test_what_is_offered(line, offered, words):
    assert options(line, words) == offered


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("lane ", ("0", "1", "2", "all", "alone")),
        ("lane a", ("all", "alone")),
        ("lane 1 ", ("1 alone",)),
        ("lane 1 al", ("1 alone",)),
        ("lane 3 ", ()),
        ("lane all ", ()),
    ],
)
def test_the_lanes_of_a_batch(line, offered, words):
    assert options(line, replace(words, lanes=3)) == offered
    assert options(line, words) == ()


AT_A_LINE = Words(
    addresses=("embed", "0.mlp", "0", "logits"),
    gradients=("0.mlp.grad", "0.grad", "logits.grad", "loss.grad"),
    locals=("query", "attn_weights"),
    breakpoints=("1",),
)


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("break 0 if abs", ("absmax ", 'absmax("query") ', 'absmax("attn_weights") ')),
        ("break layer 0 if norm > 3 an", ("and ",)),
        ('trace 0 norm if absmax("a', ('absmax("attn_weights") ',)),
        ('condition 1 nan("q', ('nan("query") ',)),
        ("condition 1 entr", ("entropy ",)),
        ("break 0.mlp.", ("0.mlp.grad",)),
        ("break *.g", ("*.grad",)),
        ("tbreak los", ("loss.",)),
        ("until loss.", ("loss.grad",)),
        ("goto logits.g", ("logits.grad",)),
        ("info stats 0.mlp.", ()),
    ],
)
def test_locals_of_the_frame_and_gradients_are_offered(line, offered):
    assert options(line, AT_A_LINE) == offered


def test_every_quantity_is_offered_in_a_condition(words):
    assert set(options("break 0 if ", words)) == {f"{each} " for each in NAMES}


def test_a_whole_address_is_offered_with_what_is_inside():
    session = tiny_session()
    inside = ("1.mlp.gate_proj", "1.mlp.up_proj", "1.mlp.down_proj", "1.mlp.act_fn")
    assert options("break 1.mlp", words_of(session)) == ("1.mlp", *inside)


def test_a_deep_model_is_offered_part_by_part():
    names = ["self_attn", "self_attn.q_proj", "mlp", "mlp.up_proj"]
    layers = [address for n in range(30) for address in (*(f"{n}.{name}" for name in names), str(n))]
    words = Words(addresses=("tokenize", "embed", *layers, "norm", "logits", "sample"), tokens=30_000)

    assert len(options("break ", words)) == 35
    assert options("break 12", words) == ("12", "12.self_attn", "12.mlp")
    assert options("break 2", words) == ("2", *(str(n) for n in range(20, 30)))
    assert options("break 8-1", words) == tuple(f"8-{n}" for n in range(10, 20))
    assert options("break 8-15.", words) == ("8-15.self_attn", "8-15.mlp")
    assert len(options("focus ", words)) == 11


@pytest.mark.parametrize(
    ("line", "cursor", "start", "end", "offered"),
    [
        ("break 1.mxyz", 9, 6, 12, ("1.mlp",)),
        ("brxyz  ", 2, 0, 7, ("break", "branch")),
        ("br 1.mlp", 2, 0, 8, ()),
        ("focus 1 2", 7, 6, 9, ()),
        ("break layer 1.m", 15, 12, 15, ("1.mlp",)),
        ("break e", 99, 6, 7, ("embed",)),
    ],
)
def test_the_last_word_is_replaced_and_no_other(line, cursor, start, end, offered, words):
    found = complete(line, cursor, words)
    assert (found.start, found.end, found.options) == (start, end, offered)


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("b", "break ADDRESS [if CONDITION], as in `break *.mlp if norm > 100 and layer >= 8`: Stop whenever"),
        ("t", "token [N], as in `token 10`: Go to where"),
        ("until 1.m", "until ADDRESS, as in `until 12.mlp@3`: "),
        ("zo", "zoom: zoom this pane to the whole screen"),
        ("theme d", "theme: choose the colours"),
        ("de", "delete [N], as in `delete 1`: "),
        ("", ""),
        ("co 3", "continue [N]: "),
        ("xyz 3", ""),
    ],
)
def test_the_hint_is_there_once_the_command_is_known(line, hint, words):
    assert complete(line, len(line), words).hint.startswith(hint)
    assert bool(complete(line, len(line), words).hint) == bool(hint)


def test_the_command_an_alias_means_comes_first(monkeypatch, words):
    registry = Registry()
    for names in (("trace",), ("token", "t"), ("kv", "cache")):
        registry.add(*names, takes=Nothing(), effect=Effect.READS, summary="", example="")(lambda _session, _: Quit())
    monkeypatch.setattr(completion, "COMMANDS", registry)
    assert options("t", words) == ("token", "trace", "theme")
    assert options("cache", words) == ("kv",)


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("graft 1.ml", ("1.mlp ",)),
        ("graft 1.mlp ", ("from ",)),
        ("patch layer 1.mlp fr", ("from ",)),
        ("gra 1.mlp from ", ("b2", "reference", '"other --dtype float32"')),
        ('graft 1.mlp from "o', ('"other --dtype float32"',)),
    ],
)
def test_runs_to_take_a_value_from_are_offered(line, offered, words):
    """Other branches, and what is at hand."""
    others = ("reference", '"other --dtype float32"')
    assert options(line, replace(words, branches=("main", "b2"), others=others)) == offered


def test_what_options_share():
    assert common(("12.mlp", "12.mlp.up_proj")) == "12.mlp"
    assert common(("stage", "stats")) == "sta"
    assert common(("on", "off")) == "o"
    assert common(("a", "b")) == ""
    assert common(()) == ""


@pytest.mark.parametrize("name", ["llama", "gpt2", "qwen3_moe", "mamba", "deepseek_v3"])
def test_whatever_is_offered_is_accepted(name):
    """Every way of completing, from nothing to whole lines; each whole line is then run."""
    session = tiny_session(name, temperature=0.8, top_p=0.9)
    for address in ("0", "1"):
        COMMANDS.run(session, f"break {address}")
    words = words_of(session)
    addressed = {
        "break ",
        "break *.",
        "break 0-1.",
        "break layer ",
        "break layers *.",
        "break 0-",
        "break *",
        "break ?.",
    }
    lines = {"", *(f"{command.name} " for command in COMMANDS), *addressed}
    seen: set[str] = set()
    while lines:
        line = lines.pop()
        for new in set(filled(line, words)) - seen:
            seen.add(new)
            if new.endswith((".", " ")):
                assert options(new, words), f"{new!r} leads nowhere"
            else:
                _accept(session, new)
            lines.add(new if new.endswith((".", " ")) else f"{new}." if " " in new else new)
    assert len(seen) > 60


def _accept(session, line):
    """Run a line; where it would go on or delete what later lines name, only look at what it is given."""
    name, _, argument = line.partition(" ")
    if name in dict(ACTIONS):
        return
    takes = COMMANDS.find(name).takes
    if isinstance(takes, (Address, SavedTensor)) and argument:
        [address] = COMMANDS.parse(line).addresses
        assert session.run.stages.addresses.resolve(address).addresses
    elif isinstance(takes, BreakpointNumber) and argument:
        assert int(argument) in [each.number for each in session.breakpoints.list()]
    elif argument:
        COMMANDS.run(session, line)


_ANATOMY = dissect(tiny_model("qwen3_moe"))
_BOOK = AddressBook(_ANATOMY, [PROCESSOR])
_WORDS = Words.of((*_ANATOMY.stages, PROCESSOR), (), 20)
_typed = st.lists(
    st.sampled_from(
        [
            *"0123.-*?[]!@ ",
            "layer ",
            "layers  ",
            "mlp",
            "exp",
            "self_attn.",
            "model.",
            "model.layers.",
            "sample",
            "²",
            "٣",
        ]
    ),
    max_size=6,
).map("".join)


@given(_typed | st.text(max_size=12))
@example("s")
@example("n")
def test_nothing_offered_for_an_address_is_refused(typed):
    for new in filled(f"break {typed}", _WORDS):
        if new.endswith((".", " ")):
            continue
        point = COMMANDS.parse(new).parsed
        # A ready-made condition, such as `surprise`, names stages of its own.
        assert point.group is not None or _BOOK.resolve(point.address).addresses


@given(st.text(max_size=30), st.integers(0, 40))
def test_any_line_can_be_completed(line, cursor):
    found = complete(line, cursor, _WORDS)
    assert 0 <= found.start <= found.end == len(line)


def test_completing_needs_no_torch():
    code = "import sys, llmdbg.debugger.commands.completion; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_hint_of_every_command_has_its_example_on_a_screen_of_80_columns():
    """The screen shows it in one line, after a space."""
    for command in COMMANDS:
        line = f"{command.name} "
        hint = complete(line, len(line), Words()).hint
        assert command.example == command.name or f"`{command.example}`" in hint[:79], hint


def test_explain_offers_every_term_before_anything_is_typed(words):
    offered = options("explain ", words)
    assert set(TERM_NAMES) <= set(offered) and offered[0] == TERM_NAMES[0]
    assert options("explain resid", words) == ("residual stream",)

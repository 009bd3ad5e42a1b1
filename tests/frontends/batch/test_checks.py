"""What a batch refuses before it writes anything."""

import re

import pytest

from llmdbg.debugger.commands import COMMANDS
from llmdbg.errors import AddressError, CommandError, ConditionError, UsageError
from llmdbg.frontends.batch.checks import check_addresses, parse_commands
from tests.sessions import do, tiny_session


def test_comments_and_blank_lines_are_no_commands():
    parsed = parse_commands(["# where", "", "  step 3 ", "\tinfo stage"])
    assert [each.line for each in parsed] == ["step 3", "info stage"]


@pytest.mark.parametrize("line", ["fly", "next many", "info weather", "trace if norm > 1", "until 1 if token > 2"])
def test_the_first_line_that_makes_no_sense_is_refused(line):
    with pytest.raises(CommandError):
        parse_commands(["next", line, "break 0 if nrom > 1"])
    with pytest.raises(ConditionError):
        parse_commands(["next", "break 0 if nrom > 1", line])


def test_the_files_that_will_be_run_are_read_ahead(tmp_path):
    inner, outer = tmp_path / "inner", tmp_path / "outer"
    outer.write_text(f"step\nsource {inner}\n")
    with pytest.raises(CommandError, match=r"cannot read .*inner"):
        parse_commands([f"source {outer}"])
    inner.write_text("# nothing\n\ninfo weather\n")
    with pytest.raises(CommandError, match=r"inner, line 3: there is no info 'weather'"):
        parse_commands([f"source {outer}"])
    inner.write_text(f"source {outer}")
    with pytest.raises(CommandError, match="must not source itself"):
        parse_commands([f"source {outer}"])
    inner.write_text("until 7")
    session = tiny_session()
    with pytest.raises(AddressError, match="'7'"):
        check_addresses(parse_commands([f"source {outer}"]), session)
    inner.write_text("until 1")
    check_addresses(parse_commands([f"source {outer}", f"source {outer}"]), session)


def test_a_file_that_an_earlier_command_may_write_is_not_read_ahead(tmp_path):
    session = tiny_session()
    writes = tmp_path / "writes"
    for line in (f"info stage > {tmp_path}/later.txt", "print open('later', 'w')"):
        check_addresses(parse_commands([line, "source later", "break sample.top_k"]), session)
        writes.write_text(line)
        check_addresses(parse_commands([f"source {writes}", "source later", "break sample.top_k"]), session)


@pytest.mark.parametrize(
    "line",
    [
        "break 7 if norm > 1",
        "tbreak 7",
        "trace 7 norm",
        "watch norm at 7",
        "until 7",
        "goto 7@2",
        "zero 7",
        "scale 7 0.5 at last",
        "ablate 7 heads=all",
        "patch 7 from main at all",
        "x 7",
        "x 7.in[0, -1] by magnitude",
        "info values 7 as heat",
        "info attention 7 head 1",
        "info kv 7",
        "explain 7",
        "save tensor 7 x.safetensors",
    ],
)
def test_the_first_address_that_names_no_stage_is_refused(line):
    with pytest.raises(UsageError, match="'7'"):
        check_addresses(parse_commands(["break 0", line, "until 8"]), tiny_session())


def test_every_command_whose_usage_has_an_address_says_which():
    """Each is given an address that is nowhere; `commands`, `print` and `edit` take no address of their own."""
    written = {each.name: each.usage for each in COMMANDS if "ADDRESS" in each.usage or "TERM" in each.usage}
    fillers = {"FACTOR": "2", "heads=H": "heads=1", "heads=3,5": "heads=1", "OTHER": "main", "FILE": "f.safetensors"}
    for name, usage in written.items():
        plain = usage.replace("[last | all | inputs | ADDRESS,…] | stop", "ADDRESS")
        line = re.sub(r"\[(?!ADDRESS|TERM|at ADDRESS)[^]]*\]|[][]", "", plain)
        line = line.replace("ADDRESS", "7").replace("TERM", "7").replace("EXPRESSION", "norm")
        for word, filler in fillers.items():
            line = line.replace(word, filler)
        parsed = COMMANDS.parse(line)
        assert [*parsed.addresses, *parsed.tensors] == ["7"], name


def test_addresses_that_name_stages_are_taken():
    lines = [
        "break 0-1",
        "tbreak flip",
        "watch norm",
        "watch norm at 1",
        "goto 1@3",
        "zero *.mlp at 1,2",
        "x",
        "x .",
        "x in",
    ]
    lines += ["scale layer 1 2", "ablate 0.self_attn heads=1", "patch 1 from main", "x model.embed_tokens.weight[0]"]
    lines += ["info values", "info values 1.mlp.in", "info values 0.mlp.down_proj.weight", "info attention head 0"]
    lines += ["info attention layer 1", "info kv", "explain", "explain residual stream", "explain 1.mlp", "info lens"]
    check_addresses(parse_commands(lines), tiny_session())


def test_a_name_that_is_neither_a_stage_nor_anything_else_is_told_so():
    session = tiny_session()
    with pytest.raises(AddressError, match=r"no stage and no parameter is called '0\.mlp\.weight'"):
        check_addresses(parse_commands(["x 0.mlp.weight"]), session)
    with pytest.raises(CommandError, match="there is no term 'atention': did you mean 'attention'"):
        check_addresses(parse_commands(["explain atention"]), session)


@pytest.mark.parametrize(
    "line", ["x 1 2 3", "info values 1 by size", "zero at last", "scale 1", "ablate 1", "patch 1", "commands 1 step x"]
)
def test_arguments_that_cannot_be_read_are_refused_before_there_is_a_model(line):
    with pytest.raises(CommandError):
        parse_commands([line])


@pytest.mark.parametrize(
    "line", ["set top_k 5", "switch other", "commands 1 set top_k 5", "commands 1 commands 2 set top_k 5"]
)
def test_after_other_settings_other_stages_may_be_there(line):
    session = tiny_session()
    check_addresses(parse_commands([line, "break sample.top_k"]), session)
    with pytest.raises(AddressError):
        check_addresses(parse_commands(["break sample.top_k", line]), session)


def test_where_settings_depend_on_the_place_a_move_may_bring_other_stages():
    session = tiny_session()
    do(session, "token 3")
    do(session, "set top_k 5")
    check_addresses(parse_commands(["break sample.top_k"]), session)
    do(session, "goto 0@0")
    with pytest.raises(AddressError):
        check_addresses(parse_commands(["break sample.top_k"]), session)
    check_addresses(parse_commands(["continue", "break sample.top_k"]), session)

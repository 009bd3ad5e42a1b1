"""What a batch refuses before it writes anything."""

import pytest

from llmdbg.errors import AddressError, CommandError, ConditionError
from llmdbg.frontends.batch.checks import check_addresses, parse_commands
from tests.sessions import tiny_session


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
    book = tiny_session().run.stages.addresses
    with pytest.raises(AddressError, match="'7'"):
        check_addresses(parse_commands([f"source {outer}"]), book)
    inner.write_text("until 1")
    check_addresses(parse_commands([f"source {outer}", f"source {outer}"]), book)


def test_a_file_that_an_earlier_command_may_write_is_not_read_ahead(tmp_path):
    book = tiny_session().run.stages.addresses
    writes = tmp_path / "writes"
    for line in (f"info stage > {tmp_path}/later.txt", "print open('later', 'w')"):
        check_addresses(parse_commands([line, "source later", "break sample.top_k"]), book)
        writes.write_text(line)
        check_addresses(parse_commands([f"source {writes}", "source later", "break sample.top_k"]), book)


def test_the_first_address_that_names_no_stage_is_refused():
    book = tiny_session().run.stages.addresses
    check_addresses(parse_commands(["break 0-1", "tbreak flip", "watch norm", "watch norm at 1", "goto 1@3"]), book)
    for line in ("break 7 if norm > 1", "trace 7 norm", "watch norm at 7", "until 7", "save tensor 7 x.safetensors"):
        with pytest.raises(AddressError, match="'7'"):
            check_addresses(parse_commands(["break 0", line, "until 8"]), book)


def test_after_other_settings_other_stages_may_be_there():
    book = tiny_session().run.stages.addresses
    check_addresses(parse_commands(["set top_k 5", "break sample.top_k"]), book)
    with pytest.raises(AddressError):
        check_addresses(parse_commands(["break sample.top_k", "set top_k 5"]), book)

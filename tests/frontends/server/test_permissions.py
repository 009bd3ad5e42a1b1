"""What a client may do: by the effect of a command, and by the model that it names."""

from __future__ import annotations

import pytest

from llmdbg.debugger.commands import COMMANDS, Effect
from llmdbg.errors import CommandError
from llmdbg.frontends.server.opening import Served
from llmdbg.frontends.server.permissions import Permissions
from llmdbg.frontends.server.requests import Open
from llmdbg.models.spec import ModelSpec


def test_leave_to_run_code_is_for_the_model_that_the_user_named():
    served = Served(ModelSpec("mine", trust_remote_code=True, allow_pickle=True, dtype="float16"))
    for asked in (None, "mine"):
        spec = served.spec_for(Open(model=asked, prompt="x"))
        assert (spec.name, spec.trust_remote_code, spec.allow_pickle) == ("mine", True, True)
    other = served.spec_for(Open(model="theirs", prompt="x", dtype="float32"))
    assert (other.name, other.trust_remote_code, other.allow_pickle, other.dtype) == ("theirs", False, False, "float32")


@pytest.mark.parametrize("command", list(COMMANDS), ids=lambda each: each.name)
def test_every_command_is_allowed_if_it_is_harmless_or_reads_and_else_names_its_option(command):
    parsed = COMMANDS.parse(command.example)
    beyond = parsed.effect & ~(Effect.HARMLESS | Effect.READS_FILE)
    if command.name == "commands":
        beyond = Effect(0)  # those of the example are harmless
    if not beyond:
        Permissions().check(parsed)
        return
    with pytest.raises(CommandError, match="--allow-"):
        Permissions().check(parsed)
    Permissions(python=True, files=True).check(parsed)


@pytest.mark.parametrize("line", ["commands 1 commands 2 print 1", "commands 1 info stage; print 1", "commands 1 on"])
def test_what_is_kept_for_later_is_checked_now(line):
    with pytest.raises(CommandError, match="--allow-python"):
        Permissions().check(COMMANDS.parse(line))

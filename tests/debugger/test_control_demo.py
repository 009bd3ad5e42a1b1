"""Control over the demo model, and over its weights in Mistral's class with a window shorter than the text."""

import dataclasses

import pytest
import transformers

from llmdbg.debugger.commands import COMMANDS
from llmdbg.debugger.debugger import Debugger
from llmdbg.engine.generation.generation import Generation
from llmdbg.engine.settings import GenerationSettings
from llmdbg.models.tokens import encode_prompt
from tests.debugger.execution.test_branches import Forced
from tests.engine.runs import hooks_on, untouched
from tests.engine.test_real_text import QUESTION, as_mistral

SETTINGS = GenerationSettings(max_new_tokens=20, greedy=True)


@pytest.mark.slow
@pytest.mark.parametrize("window", [None, 32])
def test_break_under_a_condition_go_back_force_continue_switch_back(smollm2, window):
    loaded = smollm2 if window is None else dataclasses.replace(smollm2, model=as_mistral(smollm2.model, window))
    prompt = encode_prompt(loaded.tokenizer, QUESTION, chat=True)
    session = Debugger(Generation(loaded, prompt, SETTINGS))
    for line in ("break 20 if token >= 8 and norm > 1", "continue", "reverse-token 3"):
        COMMANDS.run(session, line)
    assert (session.stop.stage.address, session.stop.token) == ("sample", 5)
    word = session.stop.candidates.rows[3]
    for line in (f'force "{word.text}"', "delete", "continue"):
        COMMANDS.run(session, line)
    steer = transformers.LogitsProcessorList([Forced({len(prompt.ids) + 5: word.id})])
    forced = untouched(loaded.model, prompt.ids, SETTINGS, logits_processor=steer)
    assert list(session.end.ids) == forced.ids
    for line in ("switch main", "continue"):
        COMMANDS.run(session, line)
    assert list(session.end.ids) == untouched(loaded.model, prompt.ids, SETTINGS).ids
    assert session.debuggee.timeline.differing() == ()
    session.close()
    assert hooks_on(loaded.model) == 0

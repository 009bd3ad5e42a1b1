"""Which differences between two runs' ways of choosing tokens are differences."""

from llmdbg.debugger.comparison.choices import ChoiceFacts, settings_findings
from llmdbg.engine.debuggee import SamplingFacts


def facts(*, samples: bool, **values: float) -> ChoiceFacts:
    return ChoiceFacts(SamplingFacts("", samples, 4, values), (), 0)


def test_settings_of_sampling_are_idle_where_nobody_samples():
    one, other = facts(samples=False, temperature=1.0, top_k=50.0), facts(samples=False)
    assert settings_findings(one, other) == []
    [found] = settings_findings(facts(samples=True, top_k=50.0), facts(samples=True))
    assert found.sentence == "top_k is not set instead of 50"
    [found] = settings_findings(facts(samples=False, repetition_penalty=1.2), facts(samples=False))
    assert found.sentence == "repetition_penalty is not set instead of 1.2"

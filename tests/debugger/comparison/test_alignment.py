"""Two token sequences side by side, beyond where they part."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from transformers import PreTrainedModel

from llmdbg.debugger.comparison.alignment import aligned
from llmdbg.debugger.comparison.comparing import compare
from llmdbg.debugger.comparison.comparing_recorded import compare_recordings
from llmdbg.debugger.comparison.outcome import FindingKind, SideFacts, SpanKind, Verdict
from llmdbg.engine.settings import GenerationSettings
from llmdbg.frontends.answers.writers import lines
from llmdbg.frontends.reports.comparison import comparison_page
from tests.debugger.comparison.recordings import recorded
from tests.debugger.comparison.sides import PROMPT, faulty, side
from tests.tiny import tiny_model


def _facts(prompt: str, text: str = "", *, padding: int = 0, offset: int = 0) -> SideFacts:
    """A run whose tokens are letters, each with the id of its code point and `offset`."""
    ids = tuple(ord(each) + offset for each in prompt)
    generated = tuple(ord(each) + offset for each in text)
    return SideFacts("", "", "", ids, generated, text, tokens=tuple(text), prompt_tokens=tuple(prompt), padding=padding)


def _told(reference: SideFacts, candidate: SideFacts) -> list[tuple[str, str, str, str]]:
    return [
        (each.part, each.kind.value, each.reference_text, each.candidate_text) for each in aligned(reference, candidate)
    ]


def test_what_is_the_same_is_not_told() -> None:
    """Nor padding, which both skip."""
    assert aligned(_facts("abc", "de"), _facts("abc", "de")) == ()
    assert aligned(_facts("__abc", "de", padding=2), _facts("abc", "de")) == ()


def test_an_inserted_token_shifts_nothing() -> None:
    """Neither in the prompt nor in what was generated; positions are each side's own."""
    assert _told(_facts("abc", "uvwxyz"), _facts("aXbc", "uvxyYz")) == [
        ("prompt", "same", "a", "a"),
        ("prompt", "inserted", "", "X"),
        ("prompt", "same", "bc", "bc"),
        ("generated", "same", "uv", "uv"),
        ("generated", "deleted", "w", ""),
        ("generated", "same", "xy", "xy"),
        ("generated", "inserted", "", "Y"),
        ("generated", "same", "z", "z"),
    ]
    spans = aligned(_facts("abc"), _facts("aXbc"))
    assert [(each.reference, each.candidate) for each in spans] == [
        ((0, 1), (0, 1)),
        ((1, 1), (1, 2)),
        ((1, 3), (2, 4)),
    ]


def test_other_ids_of_the_same_words_are_the_same_text() -> None:
    """Two vocabularies that number their words otherwise."""
    assert _told(_facts("abc"), _facts("abXc", offset=7))[1] == ("prompt", "inserted", "", "X")


def test_long_texts_are_cut() -> None:
    """What is far behind the parting is one piece: aligning it would take too long."""
    spans = aligned(_facts("", "ab" * 3000), _facts("", "ba" * 3000))
    assert spans[-1].reference[1] == 6000
    assert len(spans) < 6000


@pytest.mark.parametrize(("at", "says"), [(0, "nowhere"), (4, "at the 4 positions before that")])
def test_recordings_of_other_prompts_are_compared_where_the_past_is_the_same(
    tmp_path: Path, at: int, says: str
) -> None:
    """An inserted token is named, and no stage after it is blamed for its values."""
    model = tiny_model("llama")
    other = side(model, (*PROMPT[:at], 42, *PROMPT[at:]))
    found = compare_recordings(recorded(side(model), tmp_path / "one"), recorded(other, tmp_path / "two"))
    assert [each.kind for each in found.findings] == [FindingKind.INPUT]
    assert any(says in each for each in found.notes)
    assert all(each.equal for each in found.stages)
    assert bool(found.stages) == bool(at)
    inserted = [each for each in found.alignment if each.part == "prompt" and each.kind is not SpanKind.SAME]
    assert [(each.kind, each.candidate) for each in inserted] == [(SpanKind.INSERTED, (at, at + 1))]


def test_a_fault_before_an_inserted_token_is_found(tmp_path: Path) -> None:
    """Values that have the same past are compared as ever."""

    def plant(model: PreTrainedModel) -> None:
        model.model.layers[1].self_attn.scaling *= 1.5

    model = tiny_model("llama")
    other = side(faulty(model, plant), (*PROMPT[:6], 42, *PROMPT[6:]))
    found = compare_recordings(recorded(side(model), tmp_path / "one"), recorded(other, tmp_path / "two"))
    assert [(each.kind, each.address.partition(".")[0]) for each in found.findings] == [
        (FindingKind.INPUT, "tokenize"),
        (FindingKind.FUNCTION, "1"),
    ]


def test_what_comes_after_another_token_is_not_compared(tmp_path: Path) -> None:
    """A note says up to which token."""
    drawn = GenerationSettings(max_new_tokens=6, temperature=5.0, seed=1)
    traces = [
        recorded(side(tiny_model("llama"), settings=replace(drawn, seed=seed)), tmp_path / str(seed)) for seed in (1, 2)
    ]
    found = compare_recordings(*traces)
    assert found.parting is not None
    assert f"stages are compared up to token {found.parting.token}: what comes after it has another past" in found.notes
    assert {each.address for each in found.findings} == {"sample"}


def test_the_pieces_are_shown() -> None:
    """In the text and in the report, in a table that fits into 80 cells."""
    model = tiny_model("llama")
    found = compare(side(model), side(model, (*PROMPT[:4], 42, *PROMPT[4:])))
    assert found.verdict is Verdict.DIVERGED
    written = [*lines(found)]
    (at,) = (number for number, line in enumerate(written) if line.startswith("aligned "))
    assert written[at + 1].split()[:2] == ["prompt", "0-3"]
    assert written[at + 1].endswith("the same")
    assert written[at + 2].split()[:3] == ["prompt", "+1", "–"]
    assert max(map(len, written[at : at + 6])) < 80
    assert "aligned</th>" in comparison_page(found)

"""The steps of a start, and how long each took."""

import sys

import pytest

from llmdbg.errors import LoadError
from llmdbg.models import loading
from llmdbg.models.libraries import garbage_left_alone, start_libraries
from llmdbg.models.load_steps import LoadStep, StepsTaken, StepTimer
from llmdbg.models.loading import load
from llmdbg.models.spec import LoadProgress
from tests.models.refusals import spec


def test_a_step_lasts_until_the_next_one_begins():
    now = [10.0]
    timer = StepTimer(lambda: now[0])
    assert timer.note(LoadProgress(LoadStep.LIBRARIES, 0, None)) == StepsTaken()

    now[0] = 12.5
    found = timer.note(LoadProgress(LoadStep.MODEL, 0, None))
    assert found == StepsTaken(LoadStep.MODEL, ((LoadStep.LIBRARIES, 2.5),))
    assert found.to_come == (LoadStep.TOKENIZER, LoadStep.WEIGHTS, LoadStep.RUN)

    heard = LoadProgress("downloading", 3, 7)
    assert timer.note(heard) == StepsTaken(LoadStep.MODEL, found.done, heard)
    now[0] = 13.0
    assert timer.note(LoadProgress(LoadStep.TOKENIZER, 0, None)).done[-1] == (LoadStep.MODEL, 0.5)
    weights = LoadProgress(LoadStep.WEIGHTS, 1, 7)
    timer.note(LoadProgress(LoadStep.WEIGHTS, 0, None))
    assert timer.note(weights).progress == weights


@pytest.mark.parametrize("random_weights", [False, True])
def test_loading_takes_its_steps_in_order_and_has_the_tokenizer_before_the_weights(tiny_folder, random_weights):
    told: list[object] = []
    load(
        spec(tiny_folder, random_weights=random_weights),
        lambda progress: told.append(progress.stage),
        lambda tokenizer, config: told.append((type(tokenizer).__name__, config.vocab_size)),
    )
    steps = list(dict.fromkeys(each for each in told if isinstance(each, LoadStep)))
    assert steps == [LoadStep.MODEL, LoadStep.TOKENIZER, LoadStep.WEIGHTS]
    [(kind, size)] = [each for each in told if isinstance(each, tuple)]
    assert (kind, size) == ("TokenizersBackend", 320)
    assert told.index((kind, size)) == told.index(LoadStep.WEIGHTS) - 1


def test_the_tokenizer_is_there_though_the_weights_fail(tiny_folder, monkeypatch):
    def fails(*_arguments):
        raise LoadError("no luck")

    monkeypatch.setattr(loading, "load_weights", fails)
    had: list[object] = []
    with pytest.raises(LoadError, match="no luck"):
        load(spec(tiny_folder), on_tokenizer=lambda tokenizer, _: had.append(tokenizer))
    assert had and had[0] is not None


def test_libraries_that_are_there_are_no_news():
    assert "torch" in sys.modules
    told: list[LoadProgress] = []
    start_libraries(told.append, lambda: told.append(LoadProgress("set up", 0, None)))
    assert [each.stage for each in told] == ["set up"]


def test_garbage_is_left_alone_only_meanwhile():
    import gc

    assert gc.isenabled()
    with garbage_left_alone():
        assert not gc.isenabled()
    assert gc.isenabled()

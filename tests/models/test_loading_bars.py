"""The bars progress is taken from are still where we found them."""

import importlib
from pathlib import Path
from typing import Any

import transformers.utils.logging as transformers_logging

from llmdbg.models.loading_bars import GGUF_MODULE, reported_bars


def test_the_gguf_module_still_draws_its_bar_by_this_name():
    module = importlib.import_module(GGUF_MODULE)
    assert callable(module.tqdm)
    assert "tqdm(reader.tensors" in Path(str(module.__file__)).read_text()


def test_everything_is_put_back():
    module = importlib.import_module(GGUF_MODULE)
    before = module.tqdm
    with reported_bars(lambda _: None, "reading", {}):
        assert module.tqdm is not before
    assert module.tqdm is before
    assert transformers_logging.set_tqdm_hook(None) is None


def test_bytes_are_counted_as_items_are_done():
    heard: list[Any] = []
    with reported_bars(heard.append, "reading", {"a": 10, "b": 30}):
        bar = transformers_logging.tqdm([("a", 0), ("b", 0)], desc="Loading weights")
        assert [name for name, _ in bar] == ["a", "b"]

    assert [(each.stage, each.done, each.total) for each in heard] == [
        ("reading", 0, 40),
        ("reading", 10, 40),
        ("reading", 40, 40),
    ]

"""The progress of loading, taken from the bars that transformers would draw.

`set_tqdm_hook` is the public way to replace the bar over a model's weights. There is none for the bar over a GGUF
file's tensors, so the name `tqdm` in transformers' GGUF module is replaced while a model is loaded.
`tests/models/test_loading_bars.py` fails when either is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from llmdbg.models.spec import LoadProgress, ProgressCallback

GGUF_MODULE = "transformers.modeling_gguf_pytorch_utils"


@contextmanager
def reported_bars(progress: ProgressCallback, stage: str, sizes: Mapping[str, int]) -> Iterator[None]:
    """Within this context, report what is loaded as bytes of `stage` instead of drawing bars.

    `sizes` are the bytes of the tensors by name.
    """
    import importlib

    import transformers.utils.logging as transformers_logging

    gguf_module: Any = importlib.import_module(GGUF_MODULE)

    def weights(_factory: Any, arguments: tuple[Any, ...], _settings: dict[str, Any]) -> Any:
        items = list(arguments[0]) if arguments else []
        return _Counted(items, _sizes_of(items, sizes), lambda done, total: progress(LoadProgress(stage, done, total)))

    def dequantised(tensors: Iterable[Any], **_settings: Any) -> Any:
        items = list(tensors)
        each = [int(tensor.n_bytes) for tensor in items]
        return _Counted(items, each, lambda done, total: progress(LoadProgress("converting", done, total)))

    drawn, previous = gguf_module.tqdm, transformers_logging.set_tqdm_hook(weights)
    gguf_module.tqdm = dequantised
    try:
        yield
    finally:
        gguf_module.tqdm = drawn
        transformers_logging.set_tqdm_hook(previous)


def _sizes_of(items: list[Any], sizes: Mapping[str, int]) -> list[int]:
    """Bytes of each item. Items made of several tensors of the file share the bytes that are left."""
    known = [sizes.get(item[0]) if isinstance(item, tuple) else None for item in items]
    left = max(0, sum(sizes.values()) - sum(size for size in known if size is not None))
    share = left // max(1, sum(size is None for size in known))
    return [share if size is None else size for size in known]


class _Counted:
    """Stands in for tqdm: an iterable that counts. An item counts as done when the next one is requested."""

    def __init__(self, items: list[Any], sizes: list[int], report: Callable[[int, int], None]) -> None:
        self._items, self._sizes, self._report = items, sizes, report

    def __iter__(self) -> Iterator[Any]:
        done, total = 0, sum(self._sizes)
        for item, size in zip(self._items, self._sizes, strict=True):
            if total:
                self._report(done, total)
            yield item
            done += size
        if total:
            self._report(done, total)

    def __enter__(self) -> _Counted:
        return self

    def __exit__(self, *_error: object) -> None:
        return None

    def __getattr__(self, _name: str) -> Callable[..., None]:
        return _ignore


def _ignore(*_arguments: Any, **_settings: Any) -> None:
    return None

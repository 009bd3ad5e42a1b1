"""Models on the Hugging Face Hub, read from the local cache or downloaded into it."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from llmdbg.errors import HubUnreachableError, ModelRequestError
from llmdbg.models.checkpoints import PICKLE_PATTERNS
from llmdbg.models.spec import LoadProgress, ProgressCallback

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_SMALL_FILES = ["*.json", "*.model", "*.model.v*", "*.txt", "*.tiktoken", "*.jinja"]


def looks_like_a_hub_name(name: str) -> bool:
    """Whether a name is valid for a model on the Hub."""
    return _NAME.fullmatch(name) is not None and len(name) <= 96 and "--" not in name and ".." not in name


def download(name: str, progress: ProgressCallback, *, weights: bool, allow_pickle: bool, remote_code: bool) -> Path:
    """The model's snapshot folder, after downloading what is not in the cache.

    `weights`, `allow_pickle` and `remote_code` say whether to download safetensors, pickled weights and Python files.
    Raises ModelRequestError for a model that does not exist, is private or is gated, and HubUnreachableError if the Hub
    cannot be reached or refuses.
    """
    from huggingface_hub import errors, snapshot_download

    patterns = [*_SMALL_FILES, *(["*.safetensors"] if weights else []), *(["*.py"] if remote_code else [])]
    if weights and allow_pickle:
        patterns += PICKLE_PATTERNS
    try:
        folder = snapshot_download(name, allow_patterns=patterns, tqdm_class=_reporting(progress))
    except errors.GatedRepoError as error:
        raise ModelRequestError(
            f"{name} is gated: accept its licence on https://huggingface.co/{name}, then run `hf auth login`"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise ModelRequestError(
            f"the Hub has no model {name!r} (or it is private: run `hf auth login`): check the name, or give a folder"
        ) from error
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled, OSError) as error:
        why = "the Hub is switched off (HF_HUB_OFFLINE)" if _offline() else "the Hub cannot be reached"
        raise HubUnreachableError(
            f"{name} is not in the local cache and {why}: check the network and the name, or give a local folder"
        ) from error
    except errors.HfHubHTTPError as error:
        raise HubUnreachableError(f"the Hub refused {name}: {' '.join(str(error).split())[:200]}") from error
    return Path(folder)


def _offline() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def _reporting(progress: ProgressCallback) -> type[Any]:
    """A tqdm class that draws nothing and reports the bytes of all files together."""
    from tqdm.auto import tqdm

    class Reporting(tqdm):  # type: ignore[misc]
        def __init__(self, *arguments: Any, **settings: Any) -> None:
            settings.pop("name", None)
            self._counts_bytes = settings.get("unit") == "B"
            super().__init__(*arguments, **{**settings, "disable": False, "file": _NullStream()})

        def update(self, count: float | None = 1) -> bool | None:
            shown: bool | None = super().update(count)
            if self._counts_bytes:
                progress(LoadProgress("downloading", int(self.n), int(self.total) if self.total else None))
            return shown

    return Reporting


class _NullStream:
    def write(self, _text: str) -> int:
        return 0

    def flush(self) -> None:
        pass

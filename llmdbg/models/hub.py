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


def download_small_files(name: str, progress: ProgressCallback, *, remote_code: bool) -> Path:
    """The folder of the model's newest snapshot, after downloading what is not in the cache, except for weights.

    `remote_code` says whether to download Python files. Raises ModelRequestError for a model that does not exist, is
    private or is gated, and HubUnreachableError if the Hub cannot be reached or refuses.
    """
    return _download(name, None, [*_SMALL_FILES, *(["*.py"] if remote_code else [])], progress)


def download_weights(name: str, folder: Path, progress: ProgressCallback, *, allow_pickle: bool) -> None:
    """Download the weights of the same snapshot, pickled ones only with `allow_pickle`. Raises as above."""
    # The folder is called what the commit is: what has been pushed since does not belong to it.
    _download(name, folder.name, ["*.safetensors", *(PICKLE_PATTERNS if allow_pickle else ())], progress)


def cached(name: str) -> Path | None:
    """The folder of the snapshot that was the newest when the Hub was last asked; None without one. Asks nobody."""
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=_SMALL_FILES, local_files_only=True))
    except (OSError, ValueError):  # it is not there, or not all of it
        return None


def _download(name: str, revision: str | None, patterns: list[str], progress: ProgressCallback) -> Path:
    from huggingface_hub import errors, snapshot_download

    try:
        folder = snapshot_download(name, revision=revision, allow_patterns=patterns, tqdm_class=_reporting(progress))
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

"""What the ranks of one node leave for each other without a store: a last word, and that one has told the user.

They are files in the folder that torchrun makes for each of its runs, private to the user. Imports nothing heavy.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from llmdbg.engine.ranks.loss import LastWord

_LONGEST = 4_000
_SAID = "llmdbg-said"
_END = "llmdbg-end-"
_SIGNALLED = "llmdbg-signalled-"


class Notices:
    """The notices of this run on this node, in `folder`; without one, none are left and none are found."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    @classmethod
    def of_this_run(cls, environment: Mapping[str, str] = os.environ) -> Notices:
        """Those in torchrun's folder, in which each rank has a folder of its own for its error."""
        own = environment.get("TORCHELASTIC_ERROR_FILE")
        folder = Path(own).parent.parent if own else None
        return cls(folder if folder is not None and folder.is_dir() else None)

    @property
    def are_kept(self) -> bool:
        """Whether ranks can leave notices for each other."""
        return self._folder is not None

    def is_first_to_speak(self, *, otherwise: bool) -> bool:
        """Whether no other rank of this node has told the user why all end; from now on one has.

        `otherwise` is the answer where no notice can be left.
        """
        if self._folder is None:
            return otherwise
        try:
            os.close(os.open(self._folder / _SAID, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            return False
        except OSError:
            return otherwise
        return True

    def has_someone_spoken(self) -> bool:
        """Whether a rank of this node has told the user why all end."""
        return self._folder is not None and (self._folder / _SAID).exists()

    def leave(self, rank: int, word: LastWord) -> None:
        """Leave the last word of a rank."""
        if self._folder is not None:
            with suppress(OSError):
                path = self._folder / f"{_END}{rank}"
                text = replace(word, failed=word.failed[:_LONGEST]).to_json()
                path.with_suffix(".new").write_text(text, encoding="ascii")
                path.with_suffix(".new").replace(path)

    def of(self, rank: int) -> LastWord | None:
        """The last word of a rank; None if it has left none."""
        if self._folder is not None:
            with suppress(OSError, ValueError, TypeError):
                return LastWord.from_json((self._folder / f"{_END}{rank}").read_text(encoding="ascii"))
        return None

    def note_signal(self, rank: int) -> None:
        """Say that a signal has asked a rank to end."""
        if self._folder is not None:
            with suppress(OSError):
                (self._folder / f"{_SIGNALLED}{rank}").touch()

    def is_signalled_alone(self, rank: int) -> bool:
        """Whether a signal has asked a rank to end, and no other rank of this node: not torchrun's, which ends all."""
        if self._folder is None:
            return False
        return [each.name for each in self._folder.glob(f"{_SIGNALLED}*")] == [f"{_SIGNALLED}{rank}"]

"""Makes the pictures: `python -m screenshots.make`, which `make screenshots` calls.

A picture that is as the stored one, but for the last digits of numbers, stays as it is.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from screenshots.sessions import SESSIONS, photograph
from screenshots.svg import differences

FOLDER = Path(__file__).parent


def main() -> None:
    """Photograph every session; write what has changed, and take away what is no longer made."""
    parser = argparse.ArgumentParser(prog="screenshots.make", description="Make the pictures in screenshots/.")
    parser.add_argument("--all", action="store_true", help="write also those that have not changed")
    arguments = parser.parse_args()
    # As in the tests: the order of a sum, and so its last digits, depends on it.
    torch.set_num_threads(1)
    made = set()
    for session in SESSIONS:
        for name, svg in photograph(session).items():
            made.add(name)
            kept = not arguments.all and _same(name, svg)
            if not kept:
                path = FOLDER / f"{name}.svg"
                path.parent.mkdir(exist_ok=True)
                path.write_text(svg, encoding="utf-8")
            sys.stderr.write(f"{'same' if kept else 'new ':4}  {name}\n")
    for name in stored() - made:
        (FOLDER / f"{name}.svg").unlink()
        sys.stderr.write(f"gone  {name}\n")


def stored() -> set[str]:
    """The names of the pictures that are there: paths below this folder, without the ending."""
    return {path.relative_to(FOLDER).with_suffix("").as_posix() for path in FOLDER.rglob("*.svg")}


def _same(name: str, svg: str) -> bool:
    stored = FOLDER / f"{name}.svg"
    return stored.is_file() and not differences(stored.read_text(encoding="utf-8"), svg)


if __name__ == "__main__":
    main()

"""Makes the pictures: `python -m screenshots.make --fonts FOLDER`, which `make screenshots` calls.

A picture that is as the stored one, but for milliseconds and the last digits, stays as it is.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path

from screenshots.cells import read_svg
from screenshots.png import png
from screenshots.sessions import SESSIONS, photograph
from tests.pictures import differences

FOLDER = Path(__file__).parent


def main() -> None:
    """Photograph every session; write what has changed, and take away what is no longer made."""
    parser = argparse.ArgumentParser(prog="screenshots.make", description="Make the pictures in screenshots/.")
    parser.add_argument("--fonts", type=Path, required=True, help="the folder with DejaVuSansMono.ttf")
    parser.add_argument("--all", action="store_true", help="write also those that have not changed")
    arguments = parser.parse_args()
    made = set()
    for session in SESSIONS:
        for name, svg in photograph(session).items():
            made.add(name)
            kept = not arguments.all and _same(name, svg)
            if not kept:
                (FOLDER / f"{name}.svg").write_text(svg, encoding="utf-8")
            _draw(name, arguments.fonts)
            sys.stderr.write(f"{'same' if kept else 'new ':4}  {name}\n")
    for path in FOLDER.glob("*.*g"):
        if path.suffix in (".svg", ".png") and path.stem not in made:
            path.unlink()
            sys.stderr.write(f"gone  {path.name}\n")


def _same(name: str, svg: str) -> bool:
    stored = FOLDER / f"{name}.svg"
    return stored.is_file() and not differences(read_svg(stored.read_text(encoding="utf-8")), read_svg(svg))


def _draw(name: str, fonts: Path) -> None:
    """The PNG of the stored SVG; it says of which, so that a test sees one that was left behind."""
    svg = (FOLDER / f"{name}.svg").read_text(encoding="utf-8")
    data = png(read_svg(svg), fonts, source=hashlib.sha256(svg.encode()).hexdigest())
    path = FOLDER / f"{name}.png"
    if not path.is_file() or path.read_bytes() != data:
        path.write_bytes(data)


if __name__ == "__main__":
    main()

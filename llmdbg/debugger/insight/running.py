"""Running tokens again for a question that the kept timeline must not notice."""

from __future__ import annotations

from collections.abc import Collection, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmdbg.debugger.session import Session
    from llmdbg.engine.visit import Visit, Visitor


@contextmanager
def forward_of(
    session: Session, token: int, watched: Collection[str], visitor: Visitor
) -> Iterator[Generator[Visit, None, None]]:
    """The visits of a run that begins with `token`'s forward, with the edits of this branch and nothing else armed.

    Only within `session.elsewhere()`. Leave it before `token`'s `sample` has been passed, and the token is not taken.
    """
    session.engine.edit(session.edits.addresses(), session.edits.editor(len(session.prompt.ids)))
    session.engine.arm(watched, visitor)
    stages = session.engine.stages(token)
    try:
        yield stages
    finally:
        stages.close()

"""A batch begins with the prompt in one line, not with a line for each of its tokens."""

import io

from llmdbg.debugger.commands import COMMANDS
from llmdbg.frontends.batch.run import TextWriter, run_batch
from llmdbg.frontends.sanitize import quoted
from tests.sessions import tiny_session


def lines_of(text: str, *commands: str) -> list[str]:
    out = io.StringIO()
    run_batch(tiny_session(text=text, max_new_tokens=1), [COMMANDS.parse(each) for each in commands], TextWriter(out))
    return out.getvalue().splitlines()


def test_a_short_prompt_is_there_whole() -> None:
    first, second, *_ = lines_of("Hi", "info stage")
    rows = tiny_session(text="Hi").run.tokens()
    assert first == f"prompt  {len(rows)} tokens: {' '.join(quoted(each.text) for each in rows)}"
    assert second.startswith("note: ")


def test_a_long_one_says_how_much_more_there_is_and_where() -> None:
    first, second, *_ = lines_of("word " * 20, "info stage")
    count = len(tiny_session(text="word " * 20).run.tokens())
    assert first.startswith(f"prompt  {count} tokens: ")
    assert first.endswith(f"… {count - 12} more (`info tokens` lists all)")
    assert second.startswith("note: ")
    assert len(lines_of("word " * 20, "info tokens")) > count

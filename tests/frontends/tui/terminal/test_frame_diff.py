"""The shorter output shows the same on an emulated terminal as the output that it stands for."""

import random
import re

import pyte
import pytest

from llmdbg.frontends.tui.terminal.frame_diff import FrameDiff, Resizes

WIDTH, HEIGHT = 30, 6
PENS = ("", "1;38;5;252;48;5;235", "38;5;246;48;5;235", "38;2;1;2;3", "31;42", "4;7", "2", "1;3", "97;104", "9;39;49")
TEXTS = ("abc", "a", "      ", "aaaa bbbb", "日本", "x日", "é", "e\u0301b", "▁▂▃", "‖12‖")


def shown(screen):
    """What can be seen in each cell: of a space only its background, unless something is drawn over it."""
    cells = [[screen.buffer[y][x] for x in range(WIDTH)] for y in range(HEIGHT)]
    return [[_seen(cell) for cell in line] for line in cells]


def _seen(cell):
    if cell.data != " " or cell.reverse or cell.underscore or cell.strikethrough:
        return cell
    return cell._replace(fg="default", bold=False, italics=False, blink=False)


def frames(seed, wide=True):
    drawn = random.Random(seed)
    texts = TEXTS if wide else [each for each in TEXTS if each.isascii() or each[0] in "▁‖"]
    for _ in range(30):
        frame = ["\x1b[?2026h"]
        for _ in range(drawn.randrange(1, 6)):
            y, x = drawn.randrange(1, HEIGHT + 1), drawn.randrange(1, 8)
            frame.append(f"\x1b[{y};{x}H")
            frame += [f"\x1b[{drawn.choice(PENS)}m{drawn.choice(texts)}\x1b[0m" for _ in range(drawn.randrange(1, 3))]
            frame.append("\r\n" if y < HEIGHT else "")
        yield "".join((*frame, "\x1b[?2026l"))


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("seed", range(20))
def test_the_terminal_shows_the_same(seed, wide):
    whole, short = pyte.Screen(WIDTH, HEIGHT), pyte.Screen(WIDTH, HEIGHT)
    streams, diff = (pyte.Stream(whole), pyte.Stream(short)), FrameDiff()
    for count, frame in enumerate(frames(seed, wide)):
        if count == 20:
            diff.forget()
        streams[0].feed(frame)
        streams[1].feed(diff.less(frame))
        assert shown(short) == shown(whole)


def test_the_cursor_is_left_where_the_shell_goes_on():
    diff, cursor_moves = FrameDiff(), re.compile(r"\x1b\[[\d;]*[A-HfG]")
    assert not cursor_moves.search(diff.less("\x1b[?1049h\x1b[?1000h\x1b[?25l\x1b[>25u\x1b]11;?\x1b\\"))
    assert "\x1b[3;2H" in diff.less("\x1b[3;2Hhere")
    assert "\x1b[5;2H" in diff.less("\x1b[5;2H\x1b[K"), "what acts where the cursor is needs it there"
    diff.less("\x1b[1;3H")
    leaving = diff.less("\x1b[?2004l\x1b[<u\x1b[?1049l\x1b[?25h\x1b[?1004l")
    assert not cursor_moves.search(leaving), leaving
    assert "\x1b[m" in leaving


def test_nothing_counts_as_known_until_the_frames_of_the_old_size_are_over():
    resizes = Resizes()
    assert resizes.may_differ((80, 24), 10.0)
    assert not resizes.may_differ((80, 24), 12.0)
    assert resizes.may_differ((60, 24), 12.1)
    assert resizes.may_differ((60, 24), 12.2), "a frame made for 80 columns may be among the first after the change"
    assert not resizes.may_differ((60, 24), 13.2)


def test_what_is_there_is_not_sent_again():
    diff = FrameDiff()
    frame = "\x1b[3;5H\x1b[1;38;5;252mhello\x1b[0m\x1b[38;5;246m there\x1b[0m\r\n"
    diff.less(frame)
    assert diff.less(frame) == ""
    assert diff.less(frame.replace("there", "Where")) == "\x1b[3;11HW"
    diff.forget()
    assert "hello" in diff.less(frame)


def test_what_is_not_understood_is_passed_on_where_the_cursor_should_be():
    diff = FrameDiff()
    diff.less("\x1b[3;5Habc")
    assert diff.less("\x1b[2;2H\x1b[31m\x1b[K").endswith("\x1b[2;2H\x1b[31m\x1b[K")
    assert diff.less("\x1b[3;5H\x1b[31mabc").endswith("abc"), "and nothing is known after it"


def test_a_frame_in_which_nothing_changes_is_not_sent_and_any_other_is_shown_at_once():
    diff = FrameDiff()
    begin, end = "\x1b[?2026h", "\x1b[?2026l"
    assert [diff.less(each) for each in (begin, "\x1b[3;5Habc", end)] == ["", f"{begin}\x1b[3;5H\x1b[mabc", end]
    assert [diff.less(each) for each in (begin, "\x1b[3;5Habc", end)] == ["", "", ""]
    assert diff.less(f"{begin}\x1b[3;5Habx{end}") == f"{begin}\x1b[3;7Hx{end}"
    assert diff.less(f"{begin}\x1b[3;5Habx{end}") == ""


def test_a_space_is_sent_in_whatever_colour_has_its_background():
    diff = FrameDiff()
    diff.less("\x1b[1;1H\x1b[38;5;9;48;5;1mab\x1b[0m")
    assert diff.less("\x1b[1;1H\x1b[38;5;9;48;5;1ma\x1b[0m\x1b[1;38;5;7;48;5;1m \x1b[0m") == "\x1b[1;2H "
    assert diff.less("\x1b[1;2H\x1b[2;38;5;3;48;5;1m \x1b[0m") == ""
    assert diff.less("\x1b[1;2H\x1b[4;38;5;3;48;5;1m \x1b[0m").endswith("m ")
    assert diff.less("\x1b[1;2H\x1b[38;5;3;48;5;2m \x1b[0m").endswith("m ")

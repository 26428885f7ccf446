"""The terminal: whole lines in order, and nobody waits for one that takes none."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.launcher import console as module
from app.launcher.console import Console


class Pipe:
    """A terminal that shows nothing until it is read."""

    def __init__(self) -> None:
        self.output, self.input = os.pipe()

    def read_all(self, console: Console) -> bytes:
        os.set_blocking(self.output, False)
        read = b""
        for _ in range(10_000):
            console.flush(0.01)
            is_written = not console._bytes  # before the look: what is written after it would be overlooked
            try:
                read += os.read(self.output, 65536)
            except BlockingIOError:
                if is_written:
                    return read
        raise AssertionError("the console does not get empty")


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    os.close(made.output)
    os.close(made.input)


def test_lines_come_whole_and_in_order(pipe: Pipe) -> None:
    console = Console(pipe.input)
    console.say("one")
    console.part("api", "two ✓")
    console.flush()
    assert os.read(pipe.output, 1000).decode() == "one\napi     | two ✓\n"


def test_one_that_takes_nothing_is_not_waited_for_and_the_loss_is_told(pipe: Pipe) -> None:
    console = Console(pipe.input)
    line, times = "x" * 9999, 500
    for _ in range(times):
        console.say(line)  # returns, though a pipe holds 64 KiB
    assert console._bytes <= module.WAITING_BYTES
    lines = pipe.read_all(console).decode().splitlines()
    shown = lines.count(line)
    assert 0 < shown < times
    assert f"launcher: {times - shown} lines are missing here; those of the parts are in their logs" in lines


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has it")
def test_a_full_disk_behind_it_is_no_trouble() -> None:
    descriptor = os.open("/dev/full", os.O_WRONLY)
    console = Console(descriptor)
    console.say("lost")
    console.flush()
    console.say("lost, too")
    console.flush()
    assert console._bytes == 0
    os.close(descriptor)


def test_a_closed_one_is_no_trouble(pipe: Pipe) -> None:
    other_end, mine = os.pipe()
    console = Console(mine)
    os.close(other_end)
    console.say("lost")
    console.flush()
    assert console._bytes == 0
    os.close(mine)

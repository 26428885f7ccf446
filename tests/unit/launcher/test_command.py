"""What a command that runs once leaves behind: its lines, or the last of them in an error."""

import pytest

from app.launcher import command
from app.launcher.command import CommandPart, Stopped, Workshop, last_words
from app.launcher.console import Console
from app.launcher.datadir import DataDir
from app.launcher.errors import LauncherError
from tests.support.waiting import wait_for


class PlainEnvironment:
    def for_parts(self):
        return {"PATH": "/usr/bin:/bin"}


@pytest.fixture
def run(tmp_path):
    """Runs a program as `python -m program` in a directory of its own."""

    def run(source, stopped=lambda: False):
        (tmp_path / "program.py").write_text(source)
        shop = Workshop(tmp_path, DataDir(tmp_path / "data"), PlainEnvironment(), Console())
        return shop.run_once("program", ["program"], stopped)

    return run


def test_its_lines_are_returned(run):
    assert run("print('created')") == ["created"]


def test_a_failure_is_one_line_with_its_last_words_and_where_the_rest_is(run, tmp_path):
    with pytest.raises(LauncherError) as failure:
        run("import sys; print('noise'); print('program: no such table'); sys.exit(1)")
    assert str(failure.value) == f"program failed: no such table (full output: {tmp_path}/data/log/program.log)"


def test_a_silent_failure_names_its_exit_code(run):
    with pytest.raises(LauncherError, match="program failed: exit code 3"):
        run("import sys; sys.exit(3)")


def test_a_stop_ends_it(run):
    with pytest.raises(Stopped):
        run("import time; time.sleep(600)", stopped=lambda: True)


def test_one_that_takes_too_long_is_ended(run, monkeypatch):
    monkeypatch.setattr(command, "STEP_SECONDS", 0.1)
    with pytest.raises(LauncherError, match="took longer than"):
        run("import time; time.sleep(600)")


def test_the_addresses_of_manuals_are_no_last_words():
    background = "(Background on this error at: https://x)"
    assert (
        last_words(["Traceback", "x.OperationalError: refused", "\tIs it up?", background, ""])
        == "x.OperationalError: refused Is it up?"
    )
    assert last_words(["noise", "plain"]) == "plain"
    assert last_words([]) == ""


def test_a_part_is_ready_from_its_line_until_its_next_start(tmp_path):
    (tmp_path / "program.py").write_text("import time; print(open('go').read(), flush=True); time.sleep(600)")
    shop = Workshop(tmp_path, DataDir(tmp_path / "data"), PlainEnvironment(), Console())
    part = CommandPart(shop, "program", ["program"], grace=5, ready="is up.")
    (tmp_path / "go").write_text("it is up.")
    part.start()
    wait_for(lambda: part.is_ready, 10, "the line")
    first = part.ready_at
    (tmp_path / "go").write_text("it imports")
    part.start()
    assert (part.is_ready, part.ready_at > first) == (False, True)
    part.stop(hurry=lambda: True)

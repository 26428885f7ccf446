"""Children that cannot outlive the launcher."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from app.launcher.logfile import FILES, MAX_BYTES
from app.launcher.processes import LINE_BYTES, ManagedProcess, PidFile, group_members, identity_of, wait_until
from tests.support.services import ROOT

DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
PARENT = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); print('up', flush=True); time.sleep(600)"
SLEEP = "import time; print('up', flush=True); time.sleep(600)"
LAUNCHER = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from app.launcher.processes import ManagedProcess
child = ManagedProcess([sys.executable, "-c", "import time; time.sleep(600)"], log=Path(sys.argv[2]))
child.start()
print(child.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def start(tmp_path):
    started = []

    def start(program, **options):
        process = ManagedProcess([sys.executable, "-c", program], log=tmp_path / "log", **options)
        started.append(process)
        process.start()
        return process

    yield start
    for process in started:
        process.kill()


def started_and_said(start, program, word, **options):
    said = threading.Event()
    process = start(program, on_line=lambda line: said.set() if line == word else None, **options)
    assert said.wait(20)
    return process


def gone(pid):
    return wait_until(lambda: identity_of(pid) is None, 10)


def test_its_lines_go_to_the_log_and_to_the_listener_and_the_tail_is_of_this_run_alone(start, tmp_path):
    (tmp_path / "log").write_text("an earlier run\n")
    lines = []
    process = start("print('one'); import sys; sys.stderr.write('two')", on_line=lines.append)
    assert process.wait(20) == 0
    assert lines == ["one", "two"]
    assert (tmp_path / "log").read_text() == "an earlier run\none\ntwo"
    assert process.tail() == ["one", "two"]


class TestOutput:
    def test_is_bounded_while_it_runs(self, start, tmp_path):
        """60 MB through a log of five files."""
        process = start("for number in range(1000): print('x' * 60_000)", on_line=lambda _line: None)
        assert process.wait(120) == 0
        files = [path for path in tmp_path.iterdir() if path.name.startswith("log")]
        assert len(files) == FILES
        assert max(path.stat().st_size for path in files) <= MAX_BYTES

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has it")
    def test_is_read_though_its_disk_is_full(self, start, tmp_path):
        """More than its pipe holds: the program ends, the listener hears every line, and the tail has the last."""
        (tmp_path / "log").symlink_to("/dev/full")
        lines, told = [], []
        process = start("for n in range(20_000): print('line', n)", on_line=lines.append, tell=told.append)
        assert process.wait(60) == 0
        assert lines == [f"line {number}" for number in range(20_000)]
        assert process.tail(1) == ["line 19999"]
        assert told == [f"{tmp_path}/log cannot be written (No space left on device): 1 lines are missing so far"]

    def test_a_line_without_end_needs_no_memory(self, start, tmp_path):
        lengths = []
        process = start(
            "for _ in range(200): print('x' * 100_000, end='')", on_line=lambda text: lengths.append(len(text))
        )
        assert process.wait(60) == 0
        assert sum(lengths) == 20_000_000
        assert max(lengths) <= LINE_BYTES


def test_it_has_a_session_of_its_own(start):
    process = started_and_said(start, SLEEP, "up")
    assert os.getsid(process.pid) == process.pid


def test_a_program_that_cannot_be_run_says_why(tmp_path):
    process = ManagedProcess([tmp_path / "missing"], log=tmp_path / "log")
    process.start()
    assert process.wait(20) == 126
    assert "No such file" in process.tail()[0]


@pytest.mark.parametrize(("grace", "hurry"), [(0.1, False), (600, True)])
def test_one_that_ignores_the_request_is_killed_after_its_grace_or_in_a_hurry(start, grace, hurry):
    process = started_and_said(start, DEAF, "deaf")
    assert process.stop(signal.SIGTERM, grace, hurry=lambda: hurry) == -signal.SIGKILL


def test_its_children_end_with_it(start):
    process = started_and_said(start, PARENT, "up")
    assert len(group_members(process.pid)) == 2
    process.stop(signal.SIGTERM, 10)
    assert wait_until(lambda: not group_members(process.pid), 10)


def test_it_outlives_the_thread_that_started_it(start):
    """The kernel's death signal is tied to a thread: see `_Spawner`."""
    found = []
    thread = threading.Thread(target=lambda: found.append(started_and_said(start, SLEEP, "up")))
    thread.start()
    thread.join()
    assert not wait_until(lambda: not found[0].running, 0.3)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has death signals")
def test_it_dies_with_a_launcher_that_is_killed(tmp_path):
    launcher = subprocess.Popen([sys.executable, "-c", LAUNCHER, ROOT, tmp_path / "log"], stdout=subprocess.PIPE)
    with launcher:
        pid = int(launcher.stdout.readline())
        launcher.kill()
    assert gone(pid)


class TestPidFile:
    def test_the_next_start_ends_the_one_that_survived(self, start, tmp_path):
        survivor = started_and_said(start, DEAF, "deaf")
        PidFile(tmp_path / "pid").write(survivor.pid)
        assert PidFile(tmp_path / "pid").end_survivor(signal.SIGTERM, 0.1)
        assert gone(survivor.pid)
        assert not (tmp_path / "pid").exists()

    def test_children_of_one_that_is_gone_are_ended(self, start, tmp_path):
        survivor = started_and_said(start, PARENT, "up")
        PidFile(tmp_path / "pid").write(survivor.pid)
        os.kill(survivor.pid, signal.SIGKILL)
        assert wait_until(lambda: not survivor.running, 10)
        assert PidFile(tmp_path / "pid").end_survivor(signal.SIGTERM, 5)
        assert wait_until(lambda: not group_members(survivor.pid), 10)

    def test_a_pid_that_another_process_has_by_now_is_left_alone(self, start, tmp_path):
        other = started_and_said(start, SLEEP, "up")
        (tmp_path / "pid").write_text(f"{other.pid} another-boot:1\n")
        assert not PidFile(tmp_path / "pid").end_survivor(signal.SIGKILL, 1)
        assert other.running

    @pytest.mark.parametrize("text", ["", "x y", "12"])
    def test_an_unreadable_file_ends_nothing(self, tmp_path, text):
        (tmp_path / "pid").write_text(text)
        assert not PidFile(tmp_path / "pid").end_survivor(signal.SIGKILL, 1)

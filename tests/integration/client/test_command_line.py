"""The command `task-service` as a process of its own, against a running service."""

import json
import os
import pty
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyotp
import pytest

from tests.support.accounts import PASSWORD
from tests.support.running import Running, example_stack
from tests.support.services import ROOT, Services

SETTINGS = {"TASK_MODULES": '["tests.support.example_tasks", "tests.support.file_tasks"]'}
COMMAND = [sys.executable, "-m", "task_service_client.cli"]
SECONDS = 60


@pytest.fixture(scope="module")
def running(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with example_stack(services, tmp_path_factory.mktemp("cli"), **SETTINGS) as started:
        started.stack.server()
        started.stack.worker(concurrency=2)
        yield started


class Cli:
    """Runs the command with a configuration of its own. Its environment names the server and a user's token."""

    def __init__(self, running: Running, folder: Path) -> None:
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "TASK_SERVICE"))
        }
        self.folder = folder / "config"
        self.env = {
            **kept, "PYTHONPATH": str(ROOT / "client"), "TASK_SERVICE_CONFIG": str(self.folder), "LC_ALL": "C.UTF-8",
            "TASK_SERVICE_URL": running.stack.url, "TASK_SERVICE_API_KEY": running.token,
        }  # fmt: skip

    def __call__(self, *words: str, code: int = 0, stdin: str = "", **env: str) -> subprocess.CompletedProcess[str]:
        ran = subprocess.run(
            [*COMMAND, *words], env={**self.env, **env}, input=stdin, capture_output=True, text=True, timeout=SECONDS,
            check=False,
        )  # fmt: skip
        assert ran.returncode == code, (ran.returncode, ran.stdout, ran.stderr)
        return ran

    def json(self, *words: str, **options: Any) -> Any:
        return json.loads(self(*words, "-o", "json", **options).stdout)

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*COMMAND, *words], env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )


@pytest.fixture
def cli(running: Running, tmp_path: Path) -> Cli:
    return Cli(running, tmp_path)


@pytest.fixture
def signed_out(cli: Cli) -> Cli:
    """Without a server and without a token."""
    del cli.env["TASK_SERVICE_URL"], cli.env["TASK_SERVICE_API_KEY"]
    return cli


class TestSubmit:
    def test_prints_the_id(self, cli: Cli, running: Running) -> None:
        ran = cli(
            "submit", "echo", "a=1", "b:=[1, {}]", "--name", "first", "--tag", "x", "--tag", "y", "--priority", "high"
        )
        task = running.ended(ran.stdout.strip())
        assert (task["name"], task["tags"], task["priority"]) == ("first", ["x", "y"], "high")
        assert task["result"] == {"args": [], "kwargs": {"a": 1, "b": [1, {}]}}
        assert ran.stderr == ""

    def test_waits_for_the_end(self, cli: Cli) -> None:
        ran = cli("submit", "long_running_task", "duration=0.2", "steps=2", "--wait")
        task_id, status, result = ran.stdout.rstrip("\n").split("\t")
        assert (len(task_id), status) == (36, "succeeded")
        assert json.loads(result)["steps"] == 2
        assert cli.json("submit", "echo", "--wait")["status"] == "succeeded"
        assert cli("submit", "echo", "--wait", "--fields", "status,progress").stdout == "succeeded\t100\n"

    def test_fails_with_the_task(self, cli: Cli) -> None:
        ran = cli("submit", "say_and_fail", "words=it broke", "--wait", code=1)
        assert ran.stdout.split("\t")[1:] == ["failed", "ValueError: it broke\n"]

    def test_waits_no_longer_than_is_said(self, cli: Cli, running: Running, tmp_path: Path) -> None:
        gate = tmp_path / "gate"
        ran = cli(
            "submit", "hold", f"gate={gate}", f"ledger={tmp_path / 'ledger'}", "--wait", "--timeout", "1", code=124
        )
        assert ran.stdout == ""
        task_id = ran.stderr.split()[-1]
        assert "task-service watch" in ran.stderr
        assert running.get(task_id)["status"] in ("pending", "running")
        gate.touch()
        assert running.ended(task_id)["status"] == "succeeded"

    def test_uploads_files(self, cli: Cli, tmp_path: Path) -> None:
        one, two = tmp_path / "one.csv", tmp_path / "two.csv"
        one.write_text("a,b\n1,2\n", encoding="utf-8")
        two.write_text("c\n", encoding="utf-8")
        task = cli.json("submit", "read_file", f"file=@{one}", f"others=@{two}", "--wait")
        assert task["status"] == "succeeded", task
        assert {"one.csv", "two.csv"} <= {row["name"] for row in cli.json("files", "ls")}

    def test_says_what_is_wrong(self, cli: Cli, tmp_path: Path) -> None:
        assert "echo" in cli("submit", "ecko", code=2).stderr
        assert "is a number" in cli("submit", "long_running_task", "duration=long", code=2).stderr
        assert "there is no parameter" in cli("submit", "say_and_fail", "word=x", code=2).stderr
        assert "words" in cli("submit", "say_and_fail", code=2).stderr  # the server's answer
        assert "no-such" in cli("submit", "read_file", f"file=@{tmp_path / 'no-such'}", code=2).stderr
        assert cli("submit", code=2).stdout == ""
        assert cli("submit", "echo", "--timeout", "3", code=2).stdout == ""


class TestWatch:
    def test_of_several_fails_where_one_does(self, cli: Cli, running: Running) -> None:
        good, bad = running.create("echo"), running.create("say_and_fail", kwargs={"words": "no"})
        ran = cli("watch", good, bad, code=1)
        assert {line.split("\t")[0]: line.split("\t")[1] for line in ran.stdout.splitlines()} == {
            good: "succeeded", bad: "failed",
        }  # fmt: skip
        assert cli("watch", good, good).stdout.count("\n") == 1
        lines = [json.loads(line) for line in cli("watch", bad, good, "-o", "jsonl", code=1).stdout.splitlines()]
        assert sorted((line["id"], line["status"]) for line in lines) == sorted([(good, "succeeded"), (bad, "failed")])
        assert len(json.loads(cli("watch", bad, good, "-o", "json", code=1).stdout)) == 2

    def test_fails_where_one_is_revoked(self, cli: Cli, running: Running) -> None:
        task_id = running.create("echo", delay_seconds=600)
        assert cli("cancel", task_id).stdout == f"{task_id}\trevoked\n"
        assert cli("watch", task_id, code=1).stdout.split("\t")[1] == "revoked"

    def test_leaves_the_tasks_running_at_ctrl_c(self, cli: Cli, running: Running, tmp_path: Path) -> None:
        gate, ledger = tmp_path / "gate", tmp_path / "ledger"
        ended = running.run("echo")["id"]
        held = [running.create("hold", str(gate), str(ledger)) for _ in range(2)]
        watching = cli.start("watch", *held, ended, "-o", "jsonl")
        assert watching.stdout is not None
        assert json.loads(watching.stdout.readline())["id"] == ended  # it is at it
        watching.send_signal(signal.SIGINT)
        _, said = watching.communicate(timeout=SECONDS)
        assert watching.returncode == 130
        assert "The tasks run on: 2" in said
        assert f"task-service watch {held[0]} {held[1]}" in said
        assert "Traceback" not in said
        gate.touch()
        assert {running.ended(task_id)["status"] for task_id in held} == {"succeeded"}

    def test_takes_ids_of_a_search_and_of_stdin(self, cli: Cli, running: Running) -> None:
        first = running.create("echo", task_type="watched")
        assert cli("watch", "-", stdin=f"{first}\tand more\n").stdout.startswith(first)
        assert cli("watch", "--query", "type:no-such").stdout == ""

    def test_says_what_is_wrong(self, cli: Cli, running: Running) -> None:
        unknown = "01a230e1-3000-716d-b27c-436dad5aca49"
        assert cli("watch", "x", code=2).stdout == ""
        assert cli("watch", code=2).stdout == ""
        assert unknown in cli("watch", unknown, running.create("echo"), code=1).stderr
        assert "task_not_found" in cli("watch", unknown, code=1).stderr


class TestReading:
    def test_lists_by_a_search(self, cli: Cli, running: Running) -> None:
        ids = [
            running.create("say_and_fail", kwargs={"words": "x"}, task_type="listed", name=f"n {n}") for n in range(3)
        ]
        for task_id in ids:
            running.ended(task_id)
        running.create("echo", task_type="listed")
        found = cli("ls", "type:listed", "status:failed", "after:1h").stdout.splitlines()
        assert [line.split("\t")[0] for line in found] == ids[::-1]
        assert cli("ls", "--query", 'type:listed "n 1"', "--fields", "name,error.type").stdout == "n 1\tValueError\n"
        assert [row["id"] for row in cli.json("ls", "type:listed status:failed", "-n", "2")] == ids[:0:-1]
        lines = cli("-o", "jsonl", "ls", "type:listed", "status:failed", "--fields", "id").stdout.splitlines()
        assert [json.loads(line) for line in lines] == [{"id": task_id} for task_id in ids[::-1]]
        assert "word 2: status must be" in cli("ls", "type:x", "status:nope", code=2).stderr
        assert "nope" in cli("ls", "type:listed", "--fields", "nope", code=2).stderr

    def test_shows_one(self, cli: Cli, running: Running) -> None:
        task_id = running.run("echo", kwargs={"名": "值\t1"})["id"]
        assert cli.json("show", task_id) == running.get(task_id)
        assert cli("show", task_id, "--fields", "status,result").stdout == (
            'succeeded\t{"args":[],"kwargs":{"名":"值\\t1"}}\n'
        )
        assert "status\tsucceeded\n" in cli("show", task_id).stdout

    def test_follows_logs_and_output(self, cli: Cli, running: Running, tmp_path: Path) -> None:
        gate = tmp_path / "gate"
        task_id = running.create("talk", str(gate))
        logs = cli.start("logs", task_id, "--follow")
        output = cli.start("output", task_id, "--follow", "--stream", "output")
        assert logs.stdout is not None
        assert logs.stdout.readline().endswith("INFO before the gate\n")
        gate.touch()
        assert "behind the gate" in logs.communicate(timeout=SECONDS)[0]
        assert output.communicate(timeout=SECONDS)[0] == "The words before and behind"
        assert (logs.returncode, output.returncode) == (0, 0)
        assert [line["message"] for line in cli.json("logs", task_id)] == ["before the gate", "behind the gate"]
        assert cli("output", task_id, "--stream", "counts").stdout == '{"rows": 3}\n'

    def test_looks_at_everything(self, running: Running, cli: Cli) -> None:
        cli.env["TASK_SERVICE_API_KEY"] = (
            running.stack.api(role="admin").headers["Authorization"].removeprefix("Bearer ")
        )
        for name in (
            "files",
            "schedules",
            "workflows",
            "queues",
            "workers",
            "limits",
            "webhooks",
            "errors",
            "keys",
            "users",
        ):
            assert [row.keys() for row in cli.json(name)] == [row.keys() for row in cli.json(name, "ls")]
        assert "default" in cli("queues").stdout
        assert cli.json("top").keys() == {"counts", "queues", "workers", "running", "recent"}
        assert cli.json("stats", "--by", "queue")["step_seconds"] > 0
        cli("queues", "pause", "low_priority", "--reason", "a test")
        assert next(row for row in cli.json("queues") if row["name"] == "low_priority")["paused_reason"] == "a test"
        cli("queues", "resume", "low_priority")


class TestDeeds:
    def test_concern_many_after_a_preview(self, cli: Cli, running: Running) -> None:
        ids = [running.create("echo", delay_seconds=600, task_type="bulk") for _ in range(3)]
        assert cli("cancel", "--query", "type:bulk", "--dry-run").stdout == "matched\t3\n"
        asked = cli("cancel", "--query", "type:bulk", code=2)
        assert "--yes" in asked.stderr
        assert running.status(ids[0]) == "pending"
        done = cli.json("cancel", "--query", "type:bulk status:pending", "--yes")
        assert (done["state"], done["matched"], done["done"], done["failed"]) == ("finished", 3, 3, 0)
        assert {running.status(task_id) for task_id in ids} == {"revoked"}
        assert cli.json("delete", "--query", "type:bulk", "--yes")["done"] == 3
        assert cli("delete", "--query", "type:bulk", "--yes").stdout == ""
        assert "empty search" in cli("delete", "--query", "", "--yes", code=2).stderr

    def test_go_on_behind_a_task_that_refuses(self, cli: Cli, running: Running) -> None:
        done = running.run("echo")["id"]
        waiting = running.create("echo", delay_seconds=600)
        ran = cli("cancel", done, waiting, code=1)
        assert (ran.stdout, ran.stderr.split(":")[0]) == (f"{waiting}\trevoked\n", done)
        assert cli("retry", waiting).stdout == f"{waiting}\tpending\n"
        running.ended(waiting)
        waiting = running.create("echo", delay_seconds=600)
        assert "task_active" in cli("delete", waiting, code=1).stderr
        assert cli("delete", waiting, done, "--force").stdout == f"{waiting}\tdeleted\n{done}\tdeleted\n"


class TestFiles:
    def test_go_up_and_down(self, cli: Cli, tmp_path: Path) -> None:
        source = tmp_path / "data.bin"
        source.write_bytes(bytes(range(256)) * 100)
        file_id = cli("files", "upload", str(source)).stdout.strip()
        assert cli("files", "download", file_id, str(tmp_path / "back.bin")).stdout == f"{tmp_path / 'back.bin'}\n"
        assert (tmp_path / "back.bin").read_bytes() == source.read_bytes()
        text_id = cli("files", "upload", "-", "--name", "note.txt", stdin="one\n").stdout.strip()
        assert cli("files", "download", text_id, "-").stdout == "one\n"
        cli("files", "rm", file_id, text_id)
        assert not {file_id, text_id} & {row["id"] for row in cli.json("files")}


class TestAccess:
    def test_is_by_password(self, signed_out: Cli, running: Running) -> None:
        cli, url = signed_out, running.stack.url
        user, _ = running.stack.make_user()
        ran = cli("login", url, "--username", user["username"], "--password-stdin", stdin=f"{PASSWORD}\n")
        assert (ran.stdout, user["username"] in ran.stderr) == ("", True)
        kept = cli.folder / "profiles.json"
        assert (stat.S_IMODE(kept.stat().st_mode), stat.S_IMODE(cli.folder.stat().st_mode)) == (0o600, 0o700)
        assert PASSWORD not in kept.read_text(encoding="utf-8")
        assert cli("ls").stdout == ""
        cli("logout")
        assert "login" in cli("ls", code=4).stderr
        assert "refresh_token" not in kept.read_text(encoding="utf-8")

    def test_is_by_key_and_profile(self, signed_out: Cli, cli: Cli, running: Running) -> None:
        url = running.stack.url
        _, token = running.stack.make_user()
        key = cli("keys", "create", "cli", TASK_SERVICE_URL=url, TASK_SERVICE_API_KEY=token).stdout.strip()
        signed_out("login", url, "--api-key-stdin", "--profile", "machine", stdin=key)
        assert signed_out("ls", "--profile", "machine").stdout == ""
        assert signed_out("ls", "--profile", "machine", TASK_SERVICE_API_KEY="other").stdout == ""
        assert "machine" in signed_out("ls", "--profile", "no-such", code=2).stderr
        signed_out("logout", "--profile", "machine")

    def test_needs_what_is_right(self, signed_out: Cli, running: Running) -> None:
        cli, url = signed_out, running.stack.url
        assert cli("login", url, "--username", "nobody", "--password-stdin", stdin="wrong", code=4).stdout == ""
        assert cli("login", url, "--api-key-stdin", stdin="tsk_wrong", code=4).stdout == ""
        assert cli("login", url, "--username", "nobody", code=2).stdout == ""  # there is no terminal to ask on
        assert cli("login", code=2).stdout == ""
        assert cli("ls", TASK_SERVICE_URL=url, code=4).stdout == ""
        assert cli("ls", code=4).stdout == ""
        assert not (cli.folder / "profiles.json").exists()

    def test_says_where_profiles_are_broken(self, signed_out: Cli, running: Running) -> None:
        cli = signed_out
        cli.folder.mkdir()
        for broken in ("{", "[]"):
            (cli.folder / "profiles.json").write_text(broken, encoding="utf-8")
            for words in (["ls"], ["logout"]):
                assert "profiles.json" in cli(*words, code=2).stderr
            cli("login", running.stack.url, "--api-key-stdin", stdin=running.token)
            assert cli("queues").stdout != ""

    def test_needs_a_server(self, cli: Cli) -> None:
        ran = cli("ls", "--url", "http://127.0.0.1:1", code=3)
        assert (ran.stdout, "Traceback" in ran.stderr) == ("", False)
        assert cli("ls", "--url", "ftp://x", code=2).stdout == ""


class TestTheTerminal:
    def test_speaks_chinese(self, cli: Cli) -> None:
        assert "没有匹配的任务。" in cli("ls", "type:no-such", LC_ALL="", LANG="zh_CN.UTF-8").stderr
        assert "任务" in cli("--help", LC_ALL="zh_CN.UTF-8").stdout
        unknown = cli("show", "01a230e1-3000-716d-b27c-436dad5aca49", code=1, LC_ALL="zh_CN.UTF-8").stderr
        assert "task_not_found" in unknown
        assert not unknown.isascii()  # the server's text

    def test_has_no_colour_without_one(self, cli: Cli, running: Running) -> None:
        task_id = running.run("echo")["id"]
        for words in (["ls"], ["show", task_id], ["submit", "echo", "--wait"], ["queues"], ["top"], ["stats"]):
            ran = cli(*words, FORCE_COLOR="1", TERM="xterm-256color")
            assert "\x1b" not in ran.stdout + ran.stderr, words

    @pytest.mark.parametrize(("variables", "has_colour"), [({}, True), ({"NO_COLOR": "1"}, False)])
    def test_has_tables_with_one(self, cli: Cli, running: Running, variables: dict[str, str], has_colour: bool) -> None:
        running.ended(running.create("echo", name="a \x07bell \u202e", task_type="tables"))
        shown = on_a_terminal(cli, "ls", "type:tables", **variables)
        assert "NAME" in shown
        assert "\x07" not in shown
        assert ("\x1b[32m" in shown) is has_colour

    def test_asks(self, signed_out: Cli, running: Running) -> None:
        user, _ = running.stack.make_user()
        answers = [
            ("URL", f"{running.stack.url}\n"),
            ("Username", f"{user['username']}\n"),
            ("Password: ", f"{PASSWORD}\n"),
        ]
        shown = on_a_terminal(signed_out, "login", typed=answers)
        assert "Signed in" in shown
        assert PASSWORD not in shown
        task_id = signed_out("submit", "echo", "--delay", "600", "--type", "asked").stdout.strip()
        kept = on_a_terminal(signed_out, "cancel", "-q", "type:asked", typed=[("[y/N]", "n\n")], code=1)
        assert "Cancel 1 tasks?" in kept
        assert running.status(task_id) == "pending"
        assert "finished" in on_a_terminal(signed_out, "cancel", "-q", "type:asked", typed=[("[y/N]", "y\n")])
        assert running.status(task_id) == "revoked"

    def test_asks_for_a_one_time_code(self, signed_out: Cli, running: Running) -> None:
        user, token = running.stack.make_user()
        with running.stack.api(token) as http:
            secret = http.post("/api/v1/users/me/totp", json={"current_password": PASSWORD}).json()["secret"]
            confirmed = http.post("/api/v1/users/me/totp/confirm", json={"otp": pyotp.TOTP(secret).now()})
        first, second, *_ = confirmed.json()["recovery_codes"]
        words = ("login", running.stack.url, "-u", user["username"])
        refused = signed_out(*words, "--password-stdin", stdin=PASSWORD, code=4)
        assert "second_factor_required" in refused.stderr
        signed_out(*words, "--password-stdin", "--otp", first, stdin=PASSWORD)
        shown = on_a_terminal(
            signed_out, *words, typed=[("Password: ", f"{PASSWORD}\n"), ("One-time code", f"{second}\n")]
        )
        assert "Signed in" in shown

    def test_fills_itself_until_q(self, cli: Cli) -> None:
        shown = on_a_terminal(cli, "top", typed=[("q ends it", " "), ("QUEUE", "q")])
        assert "\x1b[?1049h" in shown  # the other screen of the terminal
        assert shown.rstrip().endswith("\x1b[?25h\x1b[?1049l")  # and back, with its cursor

    def test_draws_bars(self, cli: Cli) -> None:
        shown = on_a_terminal(cli, "submit", "long_running_task", "duration=1", "steps=10", "--wait")
        assert "━" in shown
        assert "running" in shown
        assert '"steps":10' in shown


def on_a_terminal(cli: Cli, *words: str, typed: Sequence[tuple[str, str]] = (), code: int = 0, **env: str) -> str:
    """What the command writes to a terminal of 120 columns. Each text of `typed` is typed once its question is there."""
    ours, theirs = pty.openpty()
    variables = {**cli.env, "TERM": "xterm-256color", "COLUMNS": "120", "LINES": "30", **env}
    ran = subprocess.Popen(
        [*COMMAND, *words], env=variables, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    shown, left = b"", [*typed]
    try:
        while piece := os.read(ours, 65536):
            shown += piece
            if left and left[0][0] in shown.decode(errors="replace"):
                os.write(ours, left.pop(0)[1].encode())
    except OSError:  # EIO: the other end is closed
        pass
    finally:
        os.close(ours)
    assert ran.wait(SECONDS) == code, shown
    assert left == []
    return shown.decode()

"""Answers of another server, or of a broken one: each command refuses them with exit code 3, and names their URL."""

from collections import defaultdict
from pathlib import Path
from typing import Any

import httpx
import pytest

from task_service_client import profiles
from tests.unit.client.conftest import URL, Service, run, task

ID = "01a230e1-3000-716d-b27c-436dad5aca49"
FOREIGN = {
    "an object": b"{}", "a text": b'"hello"', "a list of numbers": b"[1]", "a list of objects": b"[{}]", "null": b"null",
    "a page": b"<html>", "nothing": b"", "no UTF-8": b'[{"id":"\xff\xfe"}]', "much nesting": b"[" * 200_000,
    "a long number": b'[{"id": ' + b"9" * 10_000 + b"}]", "no number": b'[{"id": "1", "progress": NaN}]',
    "a half character": b'[{"id": "\\ud800"}]',
}  # fmt: skip
DEEDS = ("queues pause q", f"schedules trigger {ID}")
COMMANDS = (
    "ls", "ls --limit 0 -o json", f"show {ID}", "top", "stats", "errors", f"errors show {ID}", "keys create n", "submit t", "files",
    f"files ls --task {ID}", f"files download {ID}", "cancel --query status:failed --yes", "delete --query status:failed --dry-run",
    "ls user:chief", "watch --query type:x", "login --api-key-stdin", *DEEDS,
)  # fmt: skip


def always(content: bytes | Any) -> Any:
    answer = httpx.Response(200, content=content) if isinstance(content, bytes) else httpx.Response(200, json=content)
    return defaultdict(lambda: answer)


@pytest.fixture(autouse=True)
def in_folder(signed_in: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN)
def test_are_refused_by_all_commands(signed_in: Service, content: bytes) -> None:
    signed_in.answers = always(content)
    # Without a body a server says that it has done it.
    for command in {*COMMANDS} - ({*DEEDS} if not content else set()):
        ran = run(*command.split(), stdin="tsk_key")
        assert (ran.exit_code, ran.stdout) == (3, ""), command
        assert ran.stderr.splitlines()[-1].startswith(f"What answers at {URL}/api/v1/"), command
    assert profiles.names() == []


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("stats", {"series": [{"key": "a", "submitted": ["1"], "succeeded": [], "failed": [], "revoked": []}], "wait_seconds": {}, "run_seconds": {}}),
        ("stats", {"series": [], "wait_seconds": {"p50": "x"}, "run_seconds": {}}),
        ("cancel --query type:x --yes", {"matched": "1", "sample": [], "token": "t"}), ("keys create n", {"id": "1", "key": 5}),
        ("submit t", [{"celery_task_name": 5, "parameters": {}}]), ("submit t", [{"celery_task_name": "t", "parameters": []}]),
        (f"show {ID}", {**task(), "progress": "\x1b]0;x\x07"}), ("ls", [{"id": 5}]),
    ],
)  # fmt: skip
def test_whose_members_are_of_other_types_are_refused(signed_in: Service, command: str, answer: Any) -> None:
    signed_in.answers = always(answer)
    ran = run(*command.split())
    assert (ran.exit_code, ran.stdout, "is not the task service" in ran.stderr) == (3, "", True)


def test_may_hold_more_than_is_known(signed_in: Service) -> None:
    signed_in.answers = always([{"id": "1", "status": "dreaming", "new": {"a": 1}}])
    assert run("ls", "--fields", "id,status,new.a").stdout == "1\tdreaming\t1\n"


def test_of_a_submitted_task_leave_it_open_whether_there_is_one(signed_in: Service) -> None:
    signed_in.answers = {
        "GET /tasks/types": httpx.Response(200, json=[{"celery_task_name": "t", "parameters": {}}]),
        "POST /tasks/": httpx.Response(201, json={}),
    }
    ran = run("submit", "t", "--idempotency-key", "mine")
    assert (ran.exit_code, ran.stdout, "--idempotency-key mine" in ran.stderr) == (3, "", True)


@pytest.mark.parametrize(
    "tokens",
    [{}, [], None, {"access_token": "a"}, {"access_token": 5, "refresh_token": "r"}, {"access_token": "a\r\nX: 1", "refresh_token": "r"},
     {"access_token": "a", "refresh_token": "r\n"}, {"access_token": "", "refresh_token": "r"}],
)  # fmt: skip
def test_of_a_login_without_tokens_save_no_profile(signed_in: Service, tokens: Any) -> None:
    signed_in.answers = always(tokens)
    ran = run("login", URL, "--username", "u", "--password-stdin", stdin="secret")
    assert (ran.exit_code, "is not the task service" in ran.stderr) == (3, True)
    assert profiles.names() == []

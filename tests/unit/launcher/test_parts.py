"""The commands of API, workers and beat, by the options of `run_server.py`."""

from pathlib import Path

import pytest

from app.launcher.options import EXPRESS, EXPRESS_QUEUE, api_command, beat_command, parser, worker_commands
from app.messaging.application import QUEUE_OF
from app.models.task import TaskPriority


def workers(*arguments: str) -> dict[str, list[str]]:
    return worker_commands(parser().parse_args(arguments))


def option(command: list[str], name: str) -> str:
    return command[command.index(name) + 1]


class TestWorkers:
    def test_are_as_many_as_asked_for_and_the_express_slot(self) -> None:
        commands = workers("--workers", "2", "--concurrency", "3")
        assert list(commands) == ["worker1", "worker2", EXPRESS]
        assert {option(command, "-n") for command in commands.values()} == {f"{name}@%h" for name in commands}
        for name in ("worker1", "worker2"):
            assert option(commands[name], "-c") == "3"
            assert "-Q" not in commands[name]

    def test_the_express_slot_is_one_child_for_the_queue_of_critical_tasks_alone(self) -> None:
        express = workers("--concurrency", "8")[EXPRESS]
        assert (option(express, "-c"), option(express, "-Q")) == ("1", EXPRESS_QUEUE)
        assert QUEUE_OF[TaskPriority.CRITICAL] == EXPRESS_QUEUE

    def test_have_another_name_than_those_that_are_still_there(self) -> None:
        commands = worker_commands(parser().parse_args([]), lambda name: f"{name}-2")
        assert [(name, option(command, "-n")) for name, command in commands.items()] == [
            ("worker1-2", "worker1-2@%h"),
            ("express-2", "express-2@%h"),
        ]

    def test_may_be_none(self) -> None:
        assert workers("--no-worker", "--workers", "2") == {}

    def test_are_quiet_unless_verbose(self) -> None:
        assert all("--quiet" in command for command in workers().values())
        assert not any("--quiet" in command for command in workers("--verbose").values())


class TestOthers:
    def test_the_api_trusts_no_proxy_that_was_not_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("FORWARDED_ALLOW_IPS", raising=False)
        command = api_command(parser().parse_args(["--host", "0.0.0.0", "--api-workers", "2"]), 8123)
        assert [option(command, name) for name in ("--host", "--port", "--workers")] == ["0.0.0.0", "8123", "2"]
        assert "--no-proxy-headers" in command
        monkeypatch.setenv("FORWARDED_ALLOW_IPS", "10.0.0.1")
        command = api_command(parser().parse_args([]), 8123)
        assert not {"--no-proxy-headers", "--workers"} & set(command)

    def test_the_api_has_some_seconds_to_end_its_requests(self) -> None:
        command = api_command(parser().parse_args([]), 8123, grace=10)
        assert option(command, "--timeout-graceful-shutdown") == "10"

    def test_beat_keeps_its_schedule_in_the_data_directory(self) -> None:
        assert option(beat_command(parser().parse_args([]), Path("/data/schedule")), "-s") == "/data/schedule"

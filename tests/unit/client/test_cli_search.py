"""A search of the command line is sent to the service, which reads it."""

import json
import re

import httpx
import pytest

from app.models.task import TaskPriority, TaskStatus
from app.services.tasks.search import KEYS
from task_service_client.cli.submit import PRIORITIES
from task_service_client.cli.tasks import ls
from task_service_client.cli.top import STATUSES
from tests.unit.client.conftest import Service, problem, run, task

SEARCH = 'status:failed tag:"month end" x'
COUNTS = dict.fromkeys(STATUSES, 0)


def sent(service: Service, path: str) -> list[list[tuple[str, str]]]:
    return [request.url.params.multi_items() for request in service.requests if request.url.path.endswith(path)]


def test_is_sent_as_it_stands(signed_in: Service) -> None:
    signed_in.answers = {"GET /tasks/": httpx.Response(200, json=[])}
    assert run("ls", "status:failed", "--query", 'tag:"month end" x').exit_code == 0
    assert run("ls").exit_code == 0
    assert sent(signed_in, "/tasks/") == [[("limit", "50"), ("q", SEARCH)], [("limit", "50")]]


def test_of_a_bulk_operation_is_its_filter(signed_in: Service) -> None:
    signed_in.answers = {
        "POST /tasks/bulk/cancel": httpx.Response(200, json={"matched": 0, "sample": [], "token": "t"})
    }
    assert run("cancel", "--query", SEARCH, "--yes").exit_code == 0
    assert [json.loads(request.content) for request in signed_in.requests] == [
        {"filter": {"q": SEARCH}, "dry_run": True}
    ]
    refused = run("cancel", "--query", "  ", "--yes")
    assert (refused.exit_code, len(signed_in.requests)) == (2, 1)


@pytest.mark.parametrize("names_states", [True, False])
def test_of_states_says_those_itself_or_means_those_of_the_command(signed_in: Service, names_states: bool) -> None:
    def listed(request: httpx.Request) -> httpx.Response:
        is_twice = names_states and "status" in request.url.params and "q" in request.url.params
        return (
            problem(422, "invalid_search") if is_twice else httpx.Response(200, json=[task(status="running"), task()])
        )

    signed_in.answers = {
        "GET /tasks/": listed,
        "GET /tasks/count": httpx.Response(200, json=COUNTS),
        **{f"GET /{name}/": httpx.Response(200, json=[]) for name in ("workers", "queues")},
    }
    ran = run("top", "--query", SEARCH)
    assert [each["status"] for each in json.loads(ran.stdout)["running"]] == ["running"]
    again = [[("limit", "100"), ("q", SEARCH)]] if names_states else []
    first = [("limit", "100"), ("q", SEARCH), ("status", "running")]
    assert sent(signed_in, "/tasks/") == [first, *again, [("limit", "20"), ("q", SEARCH)]]
    assert sent(signed_in, "/count") == [[("q", SEARCH)]]


def test_what_the_service_refuses_is_told(signed_in: Service) -> None:
    signed_in.answers = {"GET /tasks/": problem(422, "invalid_search")}
    for command in (["ls", "state:x"], ["watch", "--query", "state:x"]):
        ran = run(*command)
        assert (ran.exit_code, ran.stdout, "invalid_search" in ran.stderr) == (2, "", True)


def test_the_help_has_all_keys() -> None:
    (keys,) = re.findall("Keys of a search: (.*)", ls.__doc__ or "")
    assert sorted(keys.split()) == sorted(KEYS)


def test_knows_the_same_values() -> None:
    assert (sorted(STATUSES), sorted(PRIORITIES)) == (sorted(TaskStatus), sorted(TaskPriority))

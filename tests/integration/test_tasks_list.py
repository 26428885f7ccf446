"""GET /tasks/ and /tasks/count: order, pages, filters, and whose tasks they show."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from uuid import UUID

import httpx
import pytest
from sqlalchemy import create_engine, delete, insert, text
from sqlalchemy.pool import NullPool

from app.core.ids import new_id
from app.db.session import dispose_engine, engine
from app.models.task import Task
from tests.support.accounts import MakeUser, login, pages, register
from tests.support.databases import DIALECT, ENGINE
from tests.support.services import Services
from tests.support.settings import sql
from tests.support.tables import cases
from tests.support.task_client import TASKS, TaskClient, module_client, shared_client, stored, task_client
from tests.support.tasks import LONG_RUNNING

client = module_client()


def names(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [task["name"] for task in answer.json()]


def following(answer: httpx.Response) -> dict[str, str] | None:
    """The query of the next page, as a client gets it from the `Link` header."""
    link = answer.links.get("next")
    return None if link is None else dict(parse_qsl(urlsplit(link["url"]).query))


class TestPages:
    def test_newest_first(self, tasks: TaskClient) -> None:
        for name in "abc":
            tasks.create(name=name)
        assert names(tasks.get()) == ["c", "b", "a"]
        assert "link" not in tasks.get().headers

    def test_limit_and_skip(self, tasks: TaskClient) -> None:
        for name in "abcde":
            tasks.create(name=name)
        assert names(tasks.get(limit=2)) == ["e", "d"]
        assert names(tasks.get(limit=2, skip=1)) == ["d", "c"]
        assert names(tasks.get(skip=5)) == []
        assert names(tasks.get(skip=10_000)) == []

    def test_links_lead_to_the_end_without_gaps_or_doubles_while_tasks_arrive(self, tasks: TaskClient) -> None:
        for number in range(25):
            tasks.create(name=f"t{number}")
        seen = []
        for page in pages(tasks.http, TASKS, tasks.token, limit=4):
            seen += names(page)
            tasks.create(name="arrived meanwhile")
        assert seen == [f"t{number}" for number in reversed(range(25))]

    def test_links_keep_the_filters_and_drop_skip(self, tasks: TaskClient) -> None:
        for number in range(6):
            tasks.create(name=f"t{number}", tags=["a & b", "数"] if number % 2 else [])
        answer = tasks.get(limit=1, skip=1, tag=["a & b", "数"])
        assert names(answer) == ["t3"]
        assert names(tasks.http.get(answer.links["next"]["url"], headers=tasks.headers)) == ["t1"]
        assert 'rel="next"' in answer.headers["link"]

    def test_no_link_after_a_last_page_that_is_exactly_full(self, tasks: TaskClient) -> None:
        for name in "ab":
            tasks.create(name=name)
        assert following(tasks.get(limit=2)) is None

    def test_a_query_out_of_range_is_refused(self, tasks: TaskClient) -> None:
        wrong: dict[str, list[Any]] = {
            "limit": [0, 201, "x", "9" * 5000], "skip": [-1, 10_001],
            "cursor": ["", "x", "z" * 32, "a" * 5000, "数" * 32, "f" * 33],
            "status": ["done"], "priority": ["highest", "5"], "name": [""], "tag": [""], "task_type": ["x" * 201],
            "created_after": ["yesterday", "2026-01-01T00:00:00", "0001-01-01T00:00:00+23:59"],
            "created_before": ["9999-12-31T23:59:59-23:59", "99999-01-01T00:00:00Z"], "user_id": ["me"],
        }  # fmt: skip
        with cases() as case:
            for name, values in wrong.items():
                for value in values:
                    with case(name, value):
                        answer = tasks.get(**{name: value})
                        assert answer.status_code == 422, answer.text
                        assert answer.headers["content-type"] == "application/problem+json"
                        assert answer.json()["errors"][0]["loc"][:2] == ["query", name]

    def test_a_cursor_at_either_end_is_harmless(self, tasks: TaskClient) -> None:
        tasks.create(name="a")
        with cases() as case:
            for cursor in ("0" * 32, "\u0661" * 32, "f" * 32, "F" * 32, "{" + "f" * 32 + "}"):
                with case(cursor):
                    assert names(tasks.get(cursor=cursor)) == ([] if cursor[0] == "0" else ["a"])

    def test_a_cursor_from_another_user_shows_only_ones_own(
        self, client: httpx.Client, make_user: MakeUser, tasks: TaskClient
    ) -> None:
        other = task_client(client, make_user)
        tasks.create(name="mine")
        for name in "ab":
            other.create(name=name)
        query = following(other.get(limit=1))
        assert query is not None
        assert names(tasks.get(**query)) == ["mine"]


class TestFilters:
    def test_list_and_count_agree(self, tasks: TaskClient) -> None:
        tasks.create(name="Import 100%_done", task_type="import", priority="high", tags=["a"])
        tasks.create(name="数据导入", task_type="import", priority="low", tags=["a", "b"])
        tasks.create(name="report", task_type="report", priority="urgent", tags=["b"], args=[1])
        tasks.task_in("succeeded", name="ended well", task_type="report")
        tasks.task_in("failed", name="ended badly", task_type="report")
        tasks.task_in("revoked", name="never began", task_type="import")
        tasks.task_in("running", name="under way")
        found: list[tuple[dict[str, Any], int]] = [
            ({}, 7), ({"status": "pending"}, 3), ({"status": ["succeeded", "failed"]}, 2),
            ({"status": ["failed", "failed"]}, 1), ({"status": "revoked"}, 1), ({"status": "running"}, 1),
            ({"task_type": "import"}, 3), ({"task_type": "impor"}, 0), ({"celery_task_name": LONG_RUNNING}, 7),
            ({"celery_task_name": "other"}, 0), ({"priority": "critical"}, 1), ({"priority": "urgent"}, 1),
            ({"priority": "4"}, 1), ({"priority": "normal"}, 4), ({"queue": "high_priority"}, 2),
            ({"queue": "nowhere"}, 0), ({"tag": "a"}, 2), ({"tag": ["a", "b"]}, 1), ({"tag": "c"}, 0),
            ({"name": "import"}, 1), ({"name": "%"}, 1), ({"name": "_"}, 1), ({"name": "导"}, 1), ({"name": "\\"}, 0),
            ({"name": "' OR 1=1 --"}, 0), ({"created_after": "2020-01-01T00:00:00Z"}, 7),
            ({"created_after": "2100-01-01T00:00:00+02:00"}, 0), ({"created_before": "2100-01-01T00:00:00Z"}, 7),
            ({"created_before": "2020-01-01T00:00:00Z"}, 0), ({"created_after": "0001-01-01T00:00:00Z"}, 7),
            ({"created_before": "9999-12-31T23:59:59Z"}, 7),
            ({"task_type": "import", "status": "pending", "tag": "b"}, 1),
            ({"task_type": "report", "status": ["pending", "failed"], "name": "e"}, 2),
        ]  # fmt: skip
        with cases() as case:
            for query, expected in found:
                with case(query):
                    listed = tasks.get(**query)
                    assert len(names(listed)) == expected
                    counted = tasks.get("count", **query)
                    assert counted.status_code == 200, counted.text
                    numbers = counted.json()
                    assert numbers.pop("total") == expected
                    statuses = [task["status"] for task in listed.json()]
                    assert numbers == {status: statuses.count(status) for status in numbers}
                    assert sum(numbers.values()) == expected

    def test_names_are_compared_letter_by_letter_in_any_case(self, tasks: TaskClient) -> None:
        for name in ("Ärgerlich", "ΟΔΟΣ", "A b", "b c", "\U0001f600 a"):
            tasks.create(name=name)
        for part, found in {
            "äRGer": ["Ärgerlich"], "δοσ": ["ΟΔΟΣ"], "ΔΟΣ": ["ΟΔΟΣ"], "B ": ["b c"], "\U0001f600 A": ["\U0001f600 a"],
            "argerlich": [], "\U0001f601": [],
        }.items():  # fmt: skip
            assert names(tasks.get(name=part)) == found, part

    def test_tags_and_kinds_are_compared_exactly(self, tasks: TaskClient) -> None:
        for text_ in ("Ä", 'a"b\\', "\U0001f600", "x ", "y"):
            tasks.create(name=text_, tags=["t", text_], task_type=text_)
        for wanted in ("Ä", 'a"b\\', "\U0001f600", "x ", "y"):
            assert names(tasks.get(tag=wanted)) == names(tasks.get(task_type=wanted)) == [wanted]
        for wanted in ("ä", "A", "x", "y ", "Y", '"', "[]"):
            assert names(tasks.get(tag=wanted)) == names(tasks.get(task_type=wanted)) == [], wanted
            assert tasks.get("count", task_type=wanted).json()["total"] == 0

    def test_count_names_every_status(self, tasks: TaskClient) -> None:
        zero = {"total": 0, "pending": 0, "running": 0, "succeeded": 0, "failed": 0, "revoked": 0}
        assert tasks.get("count").json() == zero

    def test_the_time_of_creation_splits_exactly(self, tasks: TaskClient) -> None:
        ids = [tasks.create(name=name)["id"] for name in "abc"]
        at = stored(ids[1]).created_at.isoformat()
        assert names(tasks.get(created_after=at)) == ["c"]
        assert names(tasks.get(created_before=at)) == ["a"]


@contextmanager
def many_rows(of: TaskClient) -> Iterator[None]:
    """For SQLite, which looks at the clock now and then, many rows; for the others a lock stands in for them."""
    with create_engine(engine().url, poolclass=NullPool).connect() as connection:  # without the limit
        if ENGINE == "sqlite":
            task = {"user_id": UUID(of.user["id"]), "name": "y", "task_type": "y", "celery_task_name": "y"}
            rest = {"args": [], "kwargs": {}, "priority": "low", "queue": "y", "due_at": datetime.now(UTC)}
            rows = [{"id": new_id(), "celery_id": new_id(), **task, **rest} for _ in range(10_000)]
            connection.execute(insert(Task), rows)
            connection.commit()
        else:
            connection.execute(text(LOCK[DIALECT]))
        yield
        if ENGINE == "sqlite":
            connection.execute(delete(Task))
            connection.commit()


# MariaDB's ends with its connection.
LOCK = {"postgresql": "LOCK TABLE tasks IN ACCESS EXCLUSIVE MODE", "mysql": "LOCK TABLES tasks WRITE"}


class TestSearch:
    """`q` is the search of the pages."""

    def found(self, tasks: TaskClient, **query: Any) -> list[str]:
        listed = names(tasks.get(**query))
        assert tasks.get("count", **query).json()["total"] == len(listed)
        return listed

    def test_finds_what_the_filters_find(self, tasks: TaskClient) -> None:
        tasks.create(name="monthly report", task_type="import", tags=["a", "b c"])
        tasks.create(name="report of the month", task_type="export", tags=["a"])
        tasks.task_in("failed", name="ended badly", task_type="import")
        searches = {
            "": ["ended badly", "report of the month", "monthly report"],
            "status:failed type:import after:24h": ["ended badly"],
            "status:failed status:pending before:1d": [],
            'tag:a tag:"b c"': ["monthly report"],
            '"monthly report"': ["monthly report"],
            "report of": ["report of the month"],
            f"task:{LONG_RUNNING} type:export": ["report of the month"],
            f"user:{tasks.user['id']} user:me type:export": ["report of the month"],
        }
        assert {text: self.found(tasks, q=text) for text in searches} == searches
        assert self.found(tasks, q="report", task_type="import", status="pending") == ["monthly report"]
        first = tasks.get(q="type:import", limit=1)
        assert names(tasks.http.get(first.links["next"]["url"], headers=tasks.headers)) == ["monthly report"]

    def test_what_means_nothing_is_refused_in_words_that_repeat_nothing(self, tasks: TaskClient) -> None:
        refused: dict[str, tuple[dict[str, Any], list[str]]] = {
            "a value": ({"q": "tag:a status:xyzzy"}, ["word 2: status must be 'pending', 'running', 'succeeded', 'failed' or 'revoked'"]),
            "two": ({"q": "xyzzy:1 after:xyzzy"}, ["word 1: unknown key", "word 2: after must be a time such as 24h, 7d, 2026-11-30 or 2026-11-30T08:00Z"]),
            "twice": ({"q": "tag:a xyzzy", "tag": "b", "name": "c"}, ["tag is a parameter, too: send one of both", "name is a parameter, too: send one of both"]),
            "many": ({"q": "xyzzy:1 " * 60}, [f"word {number}: unknown key" for number in range(1, 11)]),
            "others": ({"q": "user:xyzzy"}, ["word 1: user must be one that you may see: me, all, a UUID, or a name"]),
        }  # fmt: skip
        with cases() as case:
            for (name, (query, reasons)), path in itertools.product(refused.items(), ("", "count")):
                with case(name, path):
                    answer = tasks.get(path, **query)
                    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_search"), answer.text
                    assert [each["msg"] for each in answer.json()["errors"]] == reasons
                    assert {tuple(each["loc"]) for each in answer.json()["errors"]} == {("query", "q")}
                    assert "xyzzy" not in answer.text
        headers = {"Accept-Language": "zh"}
        chinese = tasks.request("GET", "", params={"q": "tag:a status:xyzzy"}, headers=headers).json()
        assert chinese["errors"][0]["msg"].startswith("第 2 个词：status 必须是 'pending'")
        assert tasks.get(q="x" * 501).json()["errors"][0]["msg"] == "must have 500 characters at most"
        assert tasks.get(q=["a", "b"]).json()["code"] == "repeated_parameter"

    def test_only_administrators_search_the_tasks_of_others(
        self, client: httpx.Client, make_user: MakeUser, tasks: TaskClient
    ) -> None:
        admin = task_client(client, make_user, "admin")
        name = tasks.user["username"]
        tasks.create(name=f"of {name}")
        for whose in (tasks.user["id"], name, name.upper(), "all"):
            assert self.found(admin, q=f"user:{whose} name:{name}") == [f"of {name}"], whose
        assert self.found(admin, q=f"name:{name}") == []
        assert admin.get(q=f"user:{name}x").status_code == 422
        for path, whose in itertools.product(("", "count"), (admin.user["id"], "all")):
            assert tasks.get(path, q=f"user:{whose}").json()["code"] == "admin_only"
        assert tasks.get(q=f"user:{admin.user['username']}").status_code == 422


class TestMisspelt:
    def test_a_filter_that_is_none_matches_nothing(self, tasks: TaskClient) -> None:
        tasks.create(tags=["x"])
        with cases() as case:
            for path, query, meant in (("count", "tags=x", "tag"), ("", "state=failed", "status")):
                with case(path):
                    answer = tasks.http.get(f"{TASKS}{path}?{query}", headers=tasks.headers)
                    assert (answer.status_code, answer.json()["code"]) == (422, "unknown_parameter")
                    assert answer.json()["errors"][0]["msg"] == f"unknown parameter, did you mean {meant}"
        answer = tasks.http.get(f"{TASKS}?limit=1&limit=2", headers=tasks.headers)
        assert (answer.status_code, answer.json()["code"]) == (422, "repeated_parameter")


@pytest.mark.skipif(DIALECT != "mysql", reason="the other engines have one character set for a database")
def test_a_database_of_another_character_set_is_filtered_too(services: Services) -> None:
    """Its tables are utf8mb4; what a statement makes up had that of the database (error 1253)."""
    with shared_client(services) as http:
        sql("ALTER DATABASE CHARACTER SET latin1")
        dispose_engine()
        user = register(http)
        mine = TaskClient(http, user, login(http, user["username"])["access_token"])
        mine.create(tags=["夜", "b"])
        for tag in ("夜", "b"):
            assert len(mine.get(tag=tag).json()) == 1
        assert mine.get(tag="c").json() == []


class TestTooLong:
    @pytest.mark.parametrize("path", ["", "count"])
    def test_what_takes_too_long_is_stopped_and_said_so(
        self, services: Services, make_user: MakeUser, path: str
    ) -> None:
        seconds = "0.002" if ENGINE == "sqlite" else "0.5"
        with shared_client(services, DATABASE_STATEMENT_TIMEOUT_SECONDS=seconds) as hasty:
            asking = task_client(hasty, make_user)
            with many_rows(asking):
                answer = asking.get(path, name="x")
            assert (answer.status_code, answer.json()["code"]) == (503, "took_too_long")
            assert answer.headers["content-type"] == "application/problem+json"
            assert asking.get(path, name="x").status_code == 200


class TestWhoseTasks:
    def test_users_see_their_own_and_may_not_ask_for_others(
        self, client: httpx.Client, make_user: MakeUser, tasks: TaskClient
    ) -> None:
        other = task_client(client, make_user)
        tasks.create(name="mine")
        other.create(name="theirs")
        assert names(tasks.get()) == ["mine"]
        assert names(tasks.get(user_id=tasks.user["id"])) == ["mine"]
        for path, whose in itertools.product(("", "count"), (other.user["id"], "all", tasks.user["id"][:-4] + "0000")):
            assert tasks.get(path, user_id=whose).status_code == 403

    def test_administrators_see_their_own_or_anybodys_or_everybodys(
        self, client: httpx.Client, make_user: MakeUser, tasks: TaskClient
    ) -> None:
        admin = task_client(client, make_user, "admin")
        tasks.create(name="a user's")
        admin.create(name="the administrator's")
        assert names(admin.get()) == ["the administrator's"]
        assert names(admin.get(user_id=tasks.user["id"])) == ["a user's"]
        everybodys = admin.get(user_id="all", limit=200)
        assert names(everybodys)[:2] == ["the administrator's", "a user's"]
        assert admin.get("count", user_id=tasks.user["id"]).json()["total"] == 1
        assert admin.get("count", user_id="all", created_after="2020-01-01T00:00:00Z").json()["total"] >= 2

"""The gate goes on looking, whatever it meets."""

import logging
from collections.abc import Callable
from typing import Any

import anyio
import psycopg2
import pytest
from sqlalchemy.exc import OperationalError, ProgrammingError

from app.api.http import schema_gate
from app.api.http.schema_gate import SchemaGate
from app.core.config import get_settings
from app.db.compatibility import SchemaPreparation

Meets = Callable[[Any], SchemaGate]


class NotPermitted(Exception):
    """As psycopg2 raises it, which sets the SQLSTATE of a real answer alone."""

    pgcode = "42501"


@pytest.fixture
def ready() -> list[bool]:
    return []


@pytest.fixture
def meets(monkeypatch: pytest.MonkeyPatch, ready: list[bool]) -> Meets:
    gate = SchemaGate(get_settings(), on_ready=lambda: ready.append(True))

    def look(outcome: Any) -> SchemaGate:
        def fault(_: Any) -> Any:
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

        monkeypatch.setattr(SchemaPreparation, "fault", fault)
        gate._look()
        return gate

    return look


def test_an_outage_is_left_to_the_requests(meets: Meets, ready: list[bool], caplog: pytest.LogCaptureFixture) -> None:
    gate = meets(OperationalError("SELECT", {}, psycopg2.OperationalError("no route to host")))
    assert (gate.fault, ready, caplog.records) == (None, [], [])
    assert meets(None).fault is None
    assert ready == [True]


def test_a_role_that_may_not_read_the_version_serves_all_the_same(
    meets: Meets, ready: list[bool], caplog: pytest.LogCaptureFixture
) -> None:
    gate = meets(ProgrammingError("SELECT", {}, NotPermitted("permission denied for table alembic_version")))
    assert (gate.fault, ready) == (None, [True])
    assert caplog.messages == ["the schema is not compared with the code: permission denied for table alembic_version"]


def test_any_other_error_is_told_once_and_the_next_look_comes(
    meets: Meets, ready: list[bool], caplog: pytest.LogCaptureFixture
) -> None:
    assert meets("not migrated").fault == "not migrated"
    caplog.clear()
    with caplog.at_level(logging.ERROR):
        for _ in range(2):
            assert meets(OSError("no memory for another process")).fault == "not migrated"
    assert caplog.messages == ["the schema could not be compared with the code, requests pass as before"]
    assert meets(None).fault is None
    assert ready == [True]


class TestReadiness:
    """/readyz says `ok` no sooner than requests pass: after the schema came, a request was refused for a moment."""

    @pytest.fixture(autouse=True)
    def migrated(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(schema_gate, "check_migrations", lambda: "ok")

    def test_looks_at_once_and_lets_requests_pass(
        self, meets: Meets, ready: list[bool], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        gate = meets("not migrated")
        assert gate.state() == "not migrated"
        monkeypatch.setattr(SchemaPreparation, "fault", lambda _: None)
        assert (gate.state(), gate.fault, ready) == ("ok", None, [True])
        assert (gate.state(), ready) == ("ok", [True])

    def test_does_not_wait_for_a_look_that_is_under_way(self, meets: Meets, monkeypatch: pytest.MonkeyPatch) -> None:
        gate = meets("not migrated")
        monkeypatch.setattr(SchemaPreparation, "fault", lambda _: None)
        with gate._looks:
            assert (gate.state(), gate.fault) == ("not migrated", "not migrated")
        assert gate.state() == "ok"

    async def passes(self, gate: SchemaGate, path: str = "/api/v1/tasks/", root_path: str = "") -> bool:
        """Whether a request reaches the application."""
        reached = []

        async def application(*_: Any) -> None:
            reached.append(True)

        async def send(_: Any) -> None: ...

        scope = {"type": "http", "path": root_path + path, "headers": [], "state": {schema_gate.STATE: gate}}
        scope["root_path"] = root_path
        await schema_gate.RefuseUnmigrated(application)(scope, send, send)
        return bool(reached)

    def test_is_for_the_api_alone_below_a_prefix_too(self, meets: Meets) -> None:
        gate = meets("not migrated")
        for root_path in ("", "/svc"):
            assert not anyio.run(self.passes, gate, "/api/v1/tasks/", root_path)
            assert anyio.run(self.passes, gate, "/readyz", root_path)

    def test_of_another_process_lets_the_next_request_pass(self, meets: Meets, monkeypatch: pytest.MonkeyPatch) -> None:
        """Each API process has a gate of its own."""
        gate = meets("not migrated")
        assert not anyio.run(self.passes, gate)
        monkeypatch.setattr(SchemaPreparation, "fault", lambda _: None)
        assert anyio.run(self.passes, gate)

"""The OpenAPI document and the pages that show it. No database is asked."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.core.version import VERSION
from app.main import create_app
from app.schemas.task import TASK, TASK_CREATE, TaskCreate, TaskRead
from tests.support.settings import settings
from tests.support.tables import check_rows

PROBLEM = {"$ref": "#/components/schemas/Problem"}
# A new route that needs no token is added here, with the reason.
WITHOUT_TOKEN = {
    ("/healthz", "get"),
    ("/readyz", "get"),
    ("/api/v1/auth/register", "post"),
    ("/api/v1/auth/login", "post"),
    ("/api/v1/auth/refresh", "post"),
}


@pytest.fixture(scope="module")
def client() -> TestClient:
    return TestClient(create_app())


@pytest.fixture(scope="module")
def document(client: TestClient) -> dict[str, Any]:
    loaded: dict[str, Any] = client.get("/openapi.json").json()
    return loaded


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def objects(node: Any) -> Iterator[dict[str, Any]]:
    """Every JSON object in the document."""
    if isinstance(node, dict):
        yield node
    for each in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from objects(each)


class TestDocument:
    def test_is_openapi_3_1_and_bilingual(self, document: dict[str, Any]) -> None:
        assert document["openapi"].startswith("3.1")
        assert "任务" in document["info"]["description"]
        described = {tag["name"] for tag in document["tags"] if tag["description"]}
        assert {tag for *_, operation in operations(document) for tag in operation["tags"]} <= described

    def test_every_operation_is_described_and_named_once(self, document: dict[str, Any]) -> None:
        names = [operation["operationId"] for *_, operation in operations(document)]
        assert len(names) == len(set(names))
        assert all(name.isidentifier() for name in names)
        for path, method, operation in operations(document):
            assert operation.get("description"), (path, method)
            for parameter in operation.get("parameters", []):
                assert parameter.get("description"), (path, method, parameter["name"])

    def test_every_error_is_a_problem_with_an_example(self, document: dict[str, Any]) -> None:
        assert {"Problem", "FieldProblem"} <= document["components"]["schemas"].keys()
        assert "HTTPValidationError" not in document["components"]["schemas"]
        for path, method, operation in operations(document):
            for status, response in operation["responses"].items():
                if status >= "400":
                    content = response["content"]["application/problem+json"]
                    assert content["schema"] == PROBLEM, (path, method, status)
                    assert content["examples"], (path, method, status)

    def test_every_operation_declares_what_any_may_answer(self, document: dict[str, Any]) -> None:
        for path, method, operation in operations(document):
            declared = operation["responses"].keys()
            assert {"400", "500"} <= declared, (path, method)
            if "requestBody" in operation:
                assert {"413", "422"} <= declared, (path, method)
            if operation.get("parameters"):
                assert "422" in declared, (path, method)
            if path.startswith("/api/v1"):
                assert "503" in declared, (path, method)
            if operation.get("security") and path != "/metrics":
                assert "401" in declared, (path, method)

    def test_the_routes_without_a_token_are_a_literal_list(self, document: dict[str, Any]) -> None:
        found = {(path, method) for path, method, operation in operations(document) if "security" not in operation}
        assert found == WITHOUT_TOKEN

    def test_every_field_is_described(self, document: dict[str, Any]) -> None:
        for name, schema in document["components"]["schemas"].items():
            for field, described in schema.get("properties", {}).items():
                assert described.get("description"), (name, field)

    def test_sentences_are_short(self, document: dict[str, Any]) -> None:
        shown = [each.get(name) for each in objects(document) for name in ("summary", "description", "detail")]
        texts = [text for text in shown if isinstance(text, str)]
        sentences = {each for text in texts for each in re.split(r"(?<=[.!?])\s+| · |\n\n", text)}
        assert [each for each in sentences if len(each.split()) > 20] == []

    def test_examples_are_valid(self) -> None:
        TaskCreate.model_validate(TASK_CREATE)
        shown = TaskRead.model_validate_json(json.dumps(TASK | {"metadata_": TASK["metadata"]}))
        assert json.loads(shown.model_dump_json()) == TASK

    def test_creating_a_task_tells_of_its_idempotency_key(self, document: dict[str, Any]) -> None:
        operation = document["paths"]["/api/v1/tasks/"]["post"]
        (key,) = [each for each in operation["parameters"] if each["name"] == "Idempotency-Key"]
        assert (key["in"], key["required"], bool(key["schema"]["examples"])) == ("header", False, True)
        assert (key["schema"]["anyOf"][0]["minLength"], key["schema"]["anyOf"][0]["maxLength"]) == (1, 255)
        answers = operation["responses"]
        assert "Idempotency-Replayed" in answers["201"]["headers"]
        assert answers["409"]["headers"].keys() == {"Retry-After"}
        conflict, invalid = (answers[status]["content"]["application/problem+json"] for status in ("409", "422"))
        assert conflict["examples"].keys() == {
            "idempotency_key_in_flight",
            "idempotent_task_deleted",
            "limit_reached",
            "unique_key_taken",
            "webhooks_off",
        }
        assert "idempotency_key_reused" in invalid["examples"]

    @pytest.mark.parametrize(
        ("path", "method"),
        [
            ("", "post"),
            ("{schedule_id}", "patch"),
            ("{schedule_id}/trigger", "post"),
            ("{schedule_id}/backfill", "post"),
        ],
    )
    def test_a_schedule_that_names_a_webhook_url_may_be_refused(
        self, document: dict[str, Any], path: str, method: str
    ) -> None:
        answers = document["paths"][f"/api/v1/schedules/{path}"][method]["responses"]
        assert "webhooks_off" in answers["409"]["content"]["application/problem+json"]["examples"]

    def test_only_what_may_be_repeated_names_a_time_in_its_409(self, document: dict[str, Any]) -> None:
        with_time = [
            operation["operationId"]
            for *_, operation in operations(document)
            if "Retry-After" in operation["responses"].get("409", {}).get("headers", {})
        ]
        assert with_time == ["create_task", "create_tasks", "create_schedule", "create_workflow"]

    def test_enumerations_are_named_components(self, document: dict[str, Any]) -> None:
        """Code generators make one class of each; an inline one becomes a class for each place that has it."""
        components = document["components"]["schemas"]
        named = {name for name, schema in components.items() if "enum" in schema}
        of_tasks = {"TaskPriority", "TaskStatus", "AttemptOutcome", "OnConflict", "WaitingReason", "LogLevel"}
        of_others = {"AuditEvent", "AuditOrigin", "Deed", "DeedState", "ErrorState", "OnExcess", "Role", "Scope"}
        of_webhooks = {"DeliveryState", "DisabledReason", "EventType"}
        of_schedules = {"CatchUp", "Overlap", "SkipCode"}
        others = {"OnFailure", "StatsKey", "StatsWindow", "WorkerState"}
        assert named == of_tasks | of_others | of_webhooks | of_schedules | others
        assert [each for each in objects(document) if "enum" in each and each not in components.values()] == []

    def test_event_streams_are_text(self, document: dict[str, Any]) -> None:
        streams = [
            media["schema"] | {"example": media["example"]}
            for *_, operation in operations(document)
            for kind, media in operation["responses"].get("200", {}).get("content", {}).items()
            if kind == "text/event-stream"
        ]
        assert len(streams) == 5
        for stream in streams:
            assert stream["type"] == "string"
            (model,) = re.findall(r"`(\w+)` as JSON", stream["description"])
            (data,) = re.findall(r"^data: (.+)$", stream["example"], flags=re.MULTILINE)
            if model == "TaskRead":
                assert json.loads(data) == TASK
            else:
                assert json.loads(data).keys() == document["components"]["schemas"][model]["properties"].keys()

    def test_says_which_scopes_an_api_key_needs(self, document: dict[str, Any]) -> None:
        paths = document["paths"]
        assert paths["/api/v1/tasks/"]["post"]["description"].endswith("API keys need the scope `tasks:write`.")
        assert paths["/api/v1/users/me"]["get"]["description"].endswith("API keys need no scope.")
        assert paths["/api/v1/auth/logout"]["post"]["description"].endswith("API keys cannot call this operation.")

    def test_a_partial_change_offers_no_null(self, document: dict[str, Any]) -> None:
        for schema in document["components"]["schemas"]["UserUpdate"]["properties"].values():
            assert "anyOf" not in schema
            assert "default" not in schema


class TestDocs:
    def test_come_from_here_without_inline_scripts(self, client: TestClient) -> None:
        page = client.get("/docs")
        assert page.status_code == 200
        assert "http" not in page.text.replace("http-equiv", "")
        policy = page.headers["content-security-policy"]
        assert "script-src 'self';" in policy
        assert "<script>" not in page.text

    def test_the_assets_are_served_and_nothing_else(self, client: TestClient) -> None:
        for name in ("swagger-ui-bundle.js", "swagger-ui.css", "favicon-32x32.png", "start.js"):
            answer = client.get(f"/docs/{name}")
            assert (answer.status_code, bool(answer.content)) == (200, True), name
        for name in ("main.py", "__init__.py", "..%2fmain.py", "%2e%2e/%2e%2e/app/main.py"):
            assert client.get(f"/docs/{name}").status_code == 404, name

    def test_are_closed_when_settings_say_so(self) -> None:
        paths = ("/docs", "/openapi.json", "/metrics", "/docs/start.js", "/docs/swagger-ui.css")
        with settings({"DOCS_ENABLED": "false"}):
            client = TestClient(create_app())
            answers = {path: client.get(path) for path in paths}
        check_rows(lambda _, answer: (answer.status_code, answer.json()["code"]) == (404, "not_found"), answers.items())

    def test_below_a_prefix_the_document_says_so(self) -> None:
        client = TestClient(create_app(), root_path="/tasks-service")
        document = client.get("/openapi.json").json()
        assert document["servers"] == [{"url": "/tasks-service"}]
        flow = document["components"]["securitySchemes"]["Login"]["flows"]["password"]
        assert flow["tokenUrl"] == "/tasks-service/api/v1/auth/login"
        assert 'src="/tasks-service/docs/start.js"' in client.get("/docs").text


class TestRoot:
    @pytest.mark.parametrize(("pages", "path"), [("true", "/below/ui/"), ("false", "/below/docs")])
    def test_a_browser_is_sent_to_the_pages_or_the_documentation(self, pages: str, path: str) -> None:
        with settings({"WEB_UI": pages}):
            client = TestClient(create_app(), root_path="/below", follow_redirects=False)
            answer = client.get("/", headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
        assert (answer.status_code, answer.headers["location"]) == (307, path)

    def test_curl_is_told_name_version_and_links_that_work(self, client: TestClient) -> None:
        told = client.get("/").json()
        assert (told["name"], told["version"]) == ("Task Service", VERSION)
        assert {name: client.get(path).status_code for name, path in told["links"].items()} == {
            "health": 200, "readiness": 503, "pages": 200, "documentation": 200, "openapi": 200,
        }  # fmt: skip

    def test_closed_documentation_is_not_linked(self) -> None:
        with settings({"DOCS_ENABLED": "false", "WEB_UI": "false"}):
            answer = TestClient(create_app()).get("/", headers={"Accept": "text/html"})
        assert (answer.status_code, set(answer.json()["links"])) == (200, {"health", "readiness"})


class TestProbes:
    def test_the_process_lives_without_a_database(self, client: TestClient) -> None:
        assert client.get("/healthz").json() == {"status": "ok"}

    def test_readiness_names_what_is_missing(self, client: TestClient) -> None:
        answer = client.get("/readyz")
        assert (answer.status_code, answer.json()["code"]) == (503, "not_ready")
        assert answer.json()["checks"].keys() == {"database", "migrations", "broker"}
        assert "DATABASE_URL" in answer.json()["checks"]["database"]

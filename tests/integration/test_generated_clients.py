"""Code generated from /openapi.json works against the service: Python clients, models and, where npm is, TypeScript."""

import asyncio
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from functools import reduce
from importlib import import_module
from operator import or_
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import uuid4

import httpx
import pytest
from pydantic import TypeAdapter
from starlette.testclient import TestClient

from app.live import watcher
from app.main import create_app
from tests.support import accounts, every_operation
from tests.support.bounds import bounded
from tests.support.every_operation import TASK
from tests.support.generated import Answer, Recorder, client_package, models_module
from tests.support.services import Services
from tests.support.settings import settings
from tests.support.stack import Stack
from tests.support.waiting import wait_for

Call = Callable[..., Any]
TYPESCRIPT = Path(__file__).parents[1] / "support" / "typescript" / "client.ts"
NPM_PACKAGES = ("openapi-typescript@7.13.0", "openapi-fetch@0.17.0", "typescript@5.9.3")
FEED_SECONDS = 1  # a feed has no end of its own


@pytest.fixture(scope="module")
def running(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    variables = {**bounded({watcher: {"MAX_SECONDS": FEED_SECONDS}}), **every_operation.SETTINGS}
    with Stack(services, tmp_path_factory.mktemp("generated"), **variables) as stack:
        stack.server()
        stack.worker()
        yield stack


@pytest.fixture(scope="module")
def document(running: Stack) -> Path:
    path = running.directory / "openapi.json"
    path.write_bytes(httpx.get(f"{running.url}/openapi.json").content)
    return path


@pytest.fixture(scope="module")
def package(document: Path) -> Iterator[ModuleType]:
    with client_package(document) as package:
        yield package


@pytest.fixture(scope="module")
def models(package: ModuleType) -> ModuleType:
    return import_module(f"{package.__name__}.models")


@pytest.fixture(scope="module")
def client(package: ModuleType, running: Stack) -> Iterator[Any]:
    _, token = running.make_user()
    with package.AuthenticatedClient(running.url, token=token, raise_on_unexpected_status=True) as client:
        yield client


@pytest.fixture(scope="module")
def call(package: ModuleType, client: Any) -> Call:
    """`call("tasks.create_task", body=…)`: the operation's function `sync`, or the one that `how` names."""

    def call(operation: str, *values: Any, how: str = "sync", client: Any = client, **options: Any) -> Any:
        module = import_module(f"{package.__name__}.api.{operation}")
        return getattr(module, how)(*values, client=client, **options)

    return call


@pytest.fixture(scope="module")
def submit(models: ModuleType, call: Call) -> Call:
    def submit(options: dict[str, Any] | None = None, **fields: Any) -> Any:
        return call("tasks.create_task", body=models.TaskCreate.from_dict(TASK | fields), **(options or {}))

    return submit


class TestClientPackage:
    """openapi-python-client: a module of functions for each operation, a class for each schema."""

    def test_submits_a_task_waits_for_it_and_finds_it(self, models: ModuleType, call: Call, submit: Call) -> None:
        created = submit(priority="high", tags=["generated"])
        ended = call("tasks.get_task", created.id, wait=30)
        assert (ended.id, ended.status) == (created.id, models.TaskStatus.SUCCEEDED)
        assert ended.priority is models.TaskPriority.HIGH
        wanted = {"status": [models.TaskStatus.SUCCEEDED], "priority": models.TaskPriority.HIGH, "tag": ["generated"]}
        assert [each.id for each in call("tasks.list_tasks", **wanted)] == [created.id]
        assert call("tasks.count_tasks", **wanted).succeeded == 1
        (attempt,) = call("tasks.list_task_attempts", created.id)
        assert attempt.outcome is models.AttemptOutcome.SUCCEEDED

    def test_cancels_a_pending_and_a_running_task(self, models: ModuleType, call: Call, submit: Call) -> None:
        pending, started = submit(delay_seconds=3600), submit(args=[60])
        assert call("tasks.cancel_task", pending.id).status is models.TaskStatus.REVOKED
        running = models.TaskStatus.RUNNING
        wait_for(lambda: call("tasks.get_task", started.id).status is running, 30, "the task to run")
        assert call("tasks.cancel_task", started.id, how="sync_detailed").status_code == 202
        assert call("tasks.get_task", started.id, wait=30).status is models.TaskStatus.REVOKED

    def test_streams_are_texts_that_hold_tasks(self, models: ModuleType, call: Call, submit: Call) -> None:
        task_id = submit().id
        call("tasks.get_task", task_id, wait=30)
        text = call("tasks.follow_task", task_id)
        (data,) = re.findall(r"^data: (.+)$", text, flags=re.MULTILINE)
        assert models.TaskRead.from_dict(json.loads(data)).status is models.TaskStatus.SUCCEEDED
        (version,) = re.findall(r"^id: (.+)$", text, flags=re.MULTILINE)
        seen = call("tasks.follow_task", task_id, last_event_id=version, how="sync_detailed")
        assert (seen.status_code, seen.parsed) == (204, None)
        assert ": connected" in call("tasks.follow_tasks")

    def test_errors_are_problems(self, models: ModuleType, call: Call, submit: Call) -> None:
        missing = call("tasks.get_task", uuid4())
        assert (type(missing), missing.code) == (models.Problem, "task_not_found")
        refused = submit(args=["no number"])
        assert (refused.code, refused.errors[0].loc) == ("invalid_arguments", ["body", "args", "duration"])

    def test_logs_in_and_works_with_an_api_key(
        self, package: ModuleType, models: ModuleType, running: Stack, call: Call, submit: Call
    ) -> None:
        user, _ = running.make_user()
        form = models.LoginForm(username=user["username"], password=accounts.PASSWORD)
        with package.Client(running.url) as anonymous:
            token = call("auth.login", client=anonymous, body=form).access_token
        wanted = models.ApiKeyCreate(name="x", scopes=[models.Scope.TASKSREAD, models.Scope.TASKSWRITE])
        with package.AuthenticatedClient(running.url, token=token) as login:
            key = call("auth.create_api_key", client=login, body=wanted).key
        with package.AuthenticatedClient(running.url, token=key) as machine:
            assert str(submit({"client": machine}).user_id) == user["id"]

    def test_asyncio_functions_work(self, models: ModuleType, client: Any, call: Call, submit: Call) -> None:
        async def ended(task_id: Any) -> Any:
            async with client as entered:
                return await call("tasks.get_task", task_id, client=entered, wait=30, how="asyncio")

        assert asyncio.run(ended(submit().id)).status is models.TaskStatus.SUCCEEDED


class TestModels:
    """datamodel-code-generator: pydantic models, here without room for a field that the document does not have."""

    def test_parse_every_answer(self, running: Stack, document: Path) -> None:
        described = json.loads(document.read_bytes())
        recorder = Recorder(described)
        with httpx.Client(base_url=running.url, timeout=60, event_hooks={"response": [recorder]}) as http:
            every_operation.converse(running, http)
        unavailable(recorder)
        operations = {each["operationId"] for methods in described["paths"].values() for each in methods.values()}
        assert operations - recorder.successes() == set()
        assert every_operation.CODES - recorder.codes() == set()
        with models_module(document) as models:
            for answer in recorder.answers:
                parse(models, answer)


def parse(models: ModuleType, answer: Answer) -> None:
    """Read the answer as its declared type, and find all of it again in what was read."""
    match answer.schema:
        case None:
            assert answer.text == "", answer
        case {"type": "string"}:
            pass
        case schema:
            kind = TypeAdapter(_type(models, schema))
            parsed = kind.validate_json(answer.text)
            # By alias: a field may have a name that Python keeps for itself.
            dumped = kind.dump_python(parsed, mode="json", exclude_unset=True, by_alias=True)
            assert dumped == json.loads(answer.text)


def _type(models: ModuleType, schema: dict[str, Any]) -> Any:
    """The generated class that a `$ref` names, a list of such, or one of several."""
    if "anyOf" in schema:
        return reduce(or_, [_type(models, each) for each in schema["anyOf"]])
    if schema.get("type") == "array":
        return list[_type(models, schema["items"])]
    return getattr(models, schema["$ref"].rpartition("/")[2])


def unavailable(recorder: Recorder) -> None:
    """Answers of a service whose database and broker are gone."""
    gone = {"DATABASE_URL": "postgresql://x@127.0.0.1:1/x", "CELERY_BROKER_URL": "redis://127.0.0.1:1/0"}
    with settings(gone), TestClient(create_app()) as http:
        http.event_hooks = {"response": [recorder]}
        http.get("/readyz")
        http.post(f"{accounts.API}/auth/login", data={"username": "x", "password": "x"})
    assert {"not_ready", "database_unavailable"} <= recorder.codes()


@pytest.mark.full
@pytest.mark.timeout(400)
@pytest.mark.skipif(shutil.which("npm") is None, reason="there is no npm on this machine")
def test_typescript_types_fit_the_service(running: Stack, document: Path, tmp_path: Path) -> None:
    """openapi-typescript's types, and openapi-fetch, which sends requests by them. Needs an npm registry."""
    shutil.copy(TYPESCRIPT, tmp_path)
    (tmp_path / "package.json").write_text('{"private": true, "type": "commonjs"}', encoding="utf-8")
    _, token = running.make_user()
    for command in (
        ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", *NPM_PACKAGES],
        # Fields with a default may be left out of a request.
        ["npx", "--no-install", "openapi-typescript", document, "--default-non-nullable=false", "-o", "api.d.ts"],
        ["npx", "--no-install", "tsc", "--strict", "--skipLibCheck", "--target", "es2022", "--lib", "es2022,dom",
         "--module", "node16", "client.ts"],
        ["node", "client.js", running.url, token],
    ):  # fmt: skip
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout) == {
        "ended": "succeeded",
        "listed": True,
        "stream": True,
        "cancelled": "revoked",
        "missing": "task_not_found",
    }

"""What README.md and docs/*.md show is run as a reader pastes it: in order, one clean shell for each document."""

import json
import re
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.support.documented import DEVELOPMENT, FOLDER, MODULES, MORE_WORKERS, PAGES, PRODUCTION, Deployment
from tests.support.pages import ANSWERS, PROGRAMS, Block, Page, like, without
from tests.support.reader import Reader
from tests.support.running import SECONDS, TASKS
from tests.support.services import Services
from tests.support.sources import assert_none
from tests.support.stack import Stack
from tests.support.waiting import wait_for
from tests.unit.outbound.web_server import reply, web_server

pytestmark = pytest.mark.timeout(360)  # the first page waits for the deployment as well

# Commands that are not pasted, by their beginning. These the fixture `deployment` runs, or makes use of their variables:
STARTED = {
    "deployment.md": (
        "alembic upgrade head",
        "python -m app create-admin",
        "uvicorn app.main:app",
        "celery -A app.celery_app worker",
        "celery -A app.celery_app beat",
        "celery -q -A app.celery_app beat",
    ),
    "files.md": (f"PYTHONPATH={FOLDER} TASK_MODULES=myteam.lines python3 run_server.py",),
    "recipes.md": (f"PYTHONPATH={FOLDER} TASK_MODULES=myteam.nightly python3 run_server.py",),
    "steps.md": (f"PYTHONPATH={FOLDER} TASK_MODULES=myteam.orders python3 run_server.py",),
    "webhooks.md": ("OUTBOUND_ALLOW=127.0.0.0/8 python3 run_server.py",),
    "writing-tasks.md": (f"PYTHONPATH={FOLDER} TASK_MODULES=myteam.tasks python3 run_server.py",),
}
INSTALLED = "changes .venv: its packages are of tests/requirements.txt"
SUITE = "a suite of its own"
FLASK = "needs Flask, a framework of the reader's own: in no requirements file of the service"
DJANGO = FLASK.replace("Flask", "Django")
APPLICATION = "test_from_celery.py"
RECEIVERS = "needs a framework of the receiver's: webhooks/test_receivers.py"
LEFT_OUT = {
    "client.md": {
        "pip install ./client": INSTALLED,
        "pip install openapi-python-client": INSTALLED,
        "pip install datamodel-code-generator": INSTALLED,
        "npm install": "needs an npm registry: test_generated_clients.py --full",
        "npx openapi-typescript": "needs an npm registry: test_generated_clients.py --full",
    },
    "command-line.md": {"pip install ./client": INSTALLED},
    "CONTRIBUTING.md": {
        "make venv": "changes .venv",
        "make run": "run_server.py installs into .venv: tests/e2e",
        "make check": SUITE,
        "make fmt lint types": "changes files; .ci/run",
        ".ci/run": SUITE,
        ".ci/nightly": SUITE,
    },
    "deployment.md": {
        "python3 -m venv .venv": "changes .venv",
        "pip install -r requirements.txt": "changes .venv",
        "for name in SECRET_KEY": "needs a Docker engine: test_containers.py, test_compose.py",
        "docker compose up": "needs a Docker engine: test_containers.py, test_compose.py",
        "docker build -t": "needs a Docker engine: test_compose.py",
        "echo TASK_": "of the containers: test_compose.py",
        ". ./.env": "of the containers: test_compose.py",
        "curl -sS $TASK_SERVICE_URL/api/v1/auth/login -d username=admin": "of the containers: test_compose.py",
    },
    "faq.md": {"pytest tests/unit": SUITE, "pip install pytest-cov": INSTALLED, "pytest --cov=app": SUITE},
    "from-celery.md": {"PYTHONPATH=/srv/shop": APPLICATION, "curl -sS": APPLICATION},
    "guarantees.md": {"python3 run_tests.py --suite faults": SUITE, "SOAK_SEED=": SUITE},
    "operations.md": {"pip install flower": INSTALLED, "celery -A app flower": "does not end: test_celery_commands.py"},
    "performance.md": {"python performance_test.py": SUITE},
    "recipes.md": {
        "flask --app shop run --port 8002": FLASK,
        "curl -X POST http://localhost:8002/reports": FLASK,
        "python orders.py table": DJANGO,
        "python orders.py runserver 8003": DJANGO,
        "curl -X POST http://localhost:8003/orders": DJANGO,
    },
    "SECURITY.md": {
        "python security_test.py": SUITE,
        "python3 run_tests.py --suite security": SUITE,
        "pytest tests/integration/test_route_matrix.py": SUITE,
        "pytest tests/integration/test_openapi_conformance.py": SUITE,
        "bandit -c pyproject.toml -r app": ".ci/run",
    },
    "servers.md": {
        "export DATABASE_URL=": "needs the two roles: test_audit_roles.py",
        "python -m app prune-audit": "needs the two roles: test_audit_roles.py",
    },
    "webhooks.md": {
        ".venv/bin/pip install standardwebhooks": INSTALLED,
        "npm install express": RECEIVERS,
        "SECRET=$SECRET node": RECEIVERS,
    },
}
PYTEST = ("/srv/mine/myteam/pictures.py", "/srv/mine/conftest.py")
# Programs that therefore are saved, and not run.
ONLY_SAVED = {
    "faq.md": {"/srv/mine/myteam/example.py": "test_own_tasks.py"},
    "recipes.md": {"shop.py": FLASK, "orders.py": DJANGO, **dict.fromkeys(PYTEST, "test_pictures.py beside them")},
    "webhooks.md": {"receiver.mjs": RECEIVERS, "genuine.py": "tests/unit/outbound/test_signatures.py"},
    "from-celery.md": dict.fromkeys(
        ("before.py", "caller.py", "/srv/shop/shop/tasks.py", "caller_with_record.py"), APPLICATION
    ),
}
WITHOUT_NODE = {"events.md": {"BASE=$TASK_SERVICE_URL TOKEN=$TOKEN ID=$ID node follow.mjs": "there is no node"}}
CURL = shutil.which("curl")
# Blocks that are no commands.
NO_COMMANDS = {
    "acl": "test_broker_security.py",
    "bat": "needs Windows: test_launch_scripts.py",
    "dockerfile": "test_compose.py builds and runs it",
    "console": "what run_server.py prints: tests/e2e",
    "http": "what a receiver gets: test_outbound.py",
    "ini": "what a reader writes to .env: tests/unit/test_documents.py",
    "jsonc": "a file of another program",
    "mermaid": "a diagram",
    "nginx": "needs nginx and a certificate",
    "sql": "test_audit_roles.py, test_task_counts.py",
}
# Blocks that stand below no command.
ALONE = {"architecture.md": "the map of folders", "faq.md": "a part of it", "repair.md": "a line of the log"}


# What stands before the blocks of a page. The tour sleeps until a task runs; on a machine with other work that takes longer.
GIVEN = {"tour.md": """sleep() { until asks "$ID" | grep -q '"status":"running"'; do command sleep 0.05; done; }\n"""}
RESTORED = "restored"  # the database that docs/operations.md creates


def not_pasted(name: str) -> dict[str, str]:
    without_node = {} if shutil.which("node") else WITHOUT_NODE.get(name, {})
    return {**LEFT_OUT.get(name, {}), **without_node, **dict.fromkeys(STARTED.get(name, ()), "started")}


@pytest.fixture(scope="module")
def deployment(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    made = Deployment(services, tmp_path_factory.mktemp("documents"))
    try:
        made.start()
        yield made
    finally:
        made.close()
        services.drop_database(RESTORED)


@pytest.fixture
def stack(deployment: Deployment) -> Stack:
    """Its logs are shown when a test fails."""
    return deployment.stack


@pytest.fixture
def reader(deployment: Deployment, stack: Stack, tmp_path: Path) -> Iterator[Reader]:
    del stack
    yield deployment.reader(tmp_path / "project")
    deployment.end_all()


def prints(block: Block) -> list[str | None]:
    """For each `print` of a program what its comment says that it prints; None without a comment."""
    return [found[1] for found in re.finditer(r"^ *print\(.*?\)(?:  # (.+?)(?::.*)?)?$", block.text, re.MULTILINE)]


@pytest.mark.skipif(not CURL, reason="needs curl, as the documents do")
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.postgresql("pg_dump and psql")] if name == "operations.md" else [])
        for name, page in PAGES.items()
        if page.commands(not_pasted(name))
    ],
)
def test_a_page_runs_and_prints_what_it_shows(reader: Reader, name: str) -> None:
    for ran in reader.read(PAGES[name], not_pasted(name), GIVEN.get(name, "")):
        if ran.block.answer is not None:
            shown = reader.adapted(ran.block.answer)
            assert like(shown).search(ran.output), f"shown:\n{shown}\nprinted:\n{ran.output}"
        if ran.block.file == "snippet.py":
            printed, expected = ran.output.strip().splitlines(), prints(ran.block)
            assert len(printed) == len(expected)
            assert [line for line, said in zip(printed, expected, strict=True) if said not in (None, line)] == []


def left_out(name: str) -> Iterator[str]:
    """The blocks of a page that are not pasted, and that nothing here names."""
    only_saved = set()
    for block in PAGES[name].blocks:
        if block.language in PROGRAMS and not (name in MODULES and block.belongs_to(MODULES[name])):
            if not block.file:
                yield f"where is it saved? {block.text}"
            elif not any(each.runs(block.file, LEFT_OUT.get(name, {})) for each in PAGES[name].blocks):
                only_saved.add(block.file)
        elif block.language not in ("bash", *ANSWERS, *PROGRAMS, *NO_COMMANDS):
            yield f"what is a block of {block.language}? {block.text}"
    if only_saved != ONLY_SAVED.get(name, {}).keys():
        yield f"only saved are {only_saved}"
    answers = sum(block.language in ANSWERS for block in PAGES[name].blocks)
    below = sum(block.answer is not None and block.language == "bash" for block in PAGES[name].blocks)
    if answers - below != (name in ALONE):
        yield f"{answers - below} answers stand below no command"


class TestNothingIsLeftOutInSilence:
    def test_every_block_is_pasted_or_named(self) -> None:
        assert_none(f"{name}: {wrong}" for name in PAGES for wrong in left_out(name))

    def test_only_commands_that_the_documents_have_are_named(self) -> None:
        for name in {*STARTED, *LEFT_OUT}:
            shells = [block.text for block in PAGES[name].blocks if block.language == "bash"]
            assert not_pasted(name).keys() == set().union(*(without(text, not_pasted(name))[1] for text in shells)), (
                name
            )
        assert {*ALONE, *MODULES, *ONLY_SAVED} <= PAGES.keys()
        used = {block.language for page in PAGES.values() for block in page.blocks}
        assert set(NO_COMMANDS) - used == set()


class TestDeployment:
    def test_no_block_of_servers_is_overlooked(self) -> None:
        blocks = [block.text for block in PAGES["deployment.md"].blocks if block.language == "bash"]
        servers = [text for text in blocks if without(text, dict.fromkeys(STARTED["deployment.md"], ""))[1]]
        assert len(servers) == len((PRODUCTION, DEVELOPMENT, *MORE_WORKERS))

    def test_the_first_administrator_is_created(self, deployment: Deployment) -> None:
        assert deployment.prepared.endswith("created\n")

    def test_the_commands_for_development_start_the_parts_too(self, deployment: Deployment, stack: Stack) -> None:
        del stack
        deployment.develop()


def test_the_task_of_the_readme_runs(deployment: Deployment) -> None:
    assert deployment.result("myteam.add_up", months=12) == {"total": 66}


@pytest.mark.usefixtures("stack")
class TestRecipes:
    """The periodic tasks of docs/recipes.md. test_periodic_recipe.py sees them fire."""

    def test_beat_has_the_entries(self, stack: Stack) -> None:
        names = {row[0] for row in stack.sql("SELECT name FROM periods")}
        assert {"myteam: report", "myteam: tidy"} == names

    def test_only_the_task_with_a_record_is_in_the_catalogue(self, deployment: Deployment) -> None:
        listed = {each["celery_task_name"] for each in deployment.http.get(f"{TASKS}types").json()}
        written = set(re.findall(r'name="(myteam\.\w+)"', PAGES["recipes.md"].module(MODULES["recipes.md"])))
        assert written == {"myteam.report", "myteam.start_report", "myteam.tidy"}
        assert written & listed == {"myteam.report"}

    def test_the_report_ends_with_its_result(self, deployment: Deployment) -> None:
        assert deployment.result("myteam.report", day="2026-11-24") == {"day": "2026-11-24"}

    def test_the_periodic_task_creates_the_report_of_yesterday(self, deployment: Deployment, reader: Reader) -> None:
        """With the command of the page."""
        (call,) = (b.text for b in PAGES["recipes.md"].blocks if b.text.startswith("celery -A app call "))
        newest = {"task_type": "report", "celery_task_name": "myteam.report", "limit": 1}
        before = [task["id"] for task in deployment.http.get(TASKS, params=newest).json()]
        reader.shell(f". .venv/bin/activate\nset -a; . .data/env\n{call}")
        yesterday = datetime.now(UTC).date() - timedelta(days=1)

        def created() -> list[dict[str, Any]]:
            return [task for task in deployment.http.get(TASKS, params=newest).json() if task["id"] not in before]

        wait_for(lambda: created() and created()[0]["status"] == "succeeded", SECONDS, "the report")
        (task,) = created()
        assert (task["name"], task["args"]) == (f"report of {yesterday}", [str(yesterday)])


def invoice_of(page: Page) -> tuple[dict[str, Any], str]:
    """The arguments and the result that the page names."""
    ((arguments, result),) = re.findall(r"The arguments `(\{[^`]+\})` give the result `([^`]+)`", page.text)
    return json.loads(arguments), result


@pytest.mark.usefixtures("stack")
class TestWritingTasks:
    """The tasks of docs/writing-tasks.md end as the page says."""

    PAGE = PAGES["writing-tasks.md"]
    INVOICE = invoice_of(PAGE)
    RESULTS: ClassVar[dict[str, tuple[dict[str, Any], Any]]] = {
        "resize": ({"names": ["a", "b"]}, {"done": ["a-m", "b-m"]}),
        "invoice": INVOICE, "flaky": ({}, 2), "auto": ({}, 1), "by_hand": ({}, 1),
        "bounded": ({}, "stopped early"), "fetch_all": ({}, [0, 1, 4]),
        "load_rows": ({}, 3), "answer": ({}, 4),
    }  # fmt: skip
    OTHERS = ("patient", "count_tasks", "announced", "count_lines")

    def test_each_of_them_is_in_the_catalogue_and_tried_below(self, deployment: Deployment) -> None:
        written = set(re.findall(r'name="(myteam\.\w+)"', self.PAGE.module(MODULES[self.PAGE.name])))
        assert written == {f"myteam.{name}" for name in (*self.RESULTS, *self.OTHERS)}
        assert written <= {each["celery_task_name"] for each in deployment.http.get(f"{TASKS}types").json()}

    def test_they_end_with_their_results(self, deployment: Deployment) -> None:
        created = {name: deployment.create(f"myteam.{name}", **tried) for name, (tried, _) in self.RESULTS.items()}
        ended = {name: deployment.ended(answer) for name, answer in created.items()}
        assert {name: task["result"] for name, task in ended.items()} == {n: r for n, (_, r) in self.RESULTS.items()}
        assert (ended["flaky"]["attempt"], ended["auto"]["attempt"], ended["by_hand"]["attempt"]) == (3, 2, 2)

    def test_arguments_that_do_not_fit_answer_as_shown(self, deployment: Deployment) -> None:
        answer = deployment.create("myteam.resize", names=[])
        assert answer.status_code == 422
        (error,) = answer.json()["errors"]
        assert f"`{error['msg']}`" in self.PAGE.text
        assert error["loc"] == ["body", "kwargs", "names"]

    def test_a_cancelled_one_stops(self, deployment: Deployment) -> None:
        task = deployment.create("myteam.patient")
        at = TASKS + task.json()["id"]
        wait_for(lambda: deployment.http.get(at).json()["status"] == "running", SECONDS, "the task to run")
        assert deployment.http.post(f"{at}/cancel").status_code == 202
        assert deployment.ended(task)["status"] == "revoked"

    def test_what_a_body_logs_is_kept(self, deployment: Deployment) -> None:
        task = deployment.create("myteam.load_rows")
        deployment.ended(task)
        lines = deployment.http.get(f"{TASKS}{task.json()['id']}/logs").json()
        kept = [(line["logger"], line["message"], line["fields"]) for line in lines]
        assert kept == [("myteam.tasks", "loading 3 rows", {"rows": 3}), ("stdout", "done", {})]

    def test_what_a_body_emits_is_kept(self, deployment: Deployment) -> None:
        task = deployment.create("myteam.answer")
        deployment.ended(task)
        answer = deployment.http.get(f"{TASKS}{task.json()['id']}/output")
        texts = [each["chunk"] for each in answer.json() if each["stream"] == "output"]
        steps = [each["chunk"] for each in answer.json() if each["stream"] == "steps"]
        assert "".join(texts) == "Because you asked: why? "
        assert steps == [{"word": number, "of": 4} for number in range(4)]

    def test_the_database_is_at_hand(self, deployment: Deployment) -> None:
        counted = deployment.result("myteam.count_tasks")
        assert isinstance(counted, dict)
        assert counted["running"] >= 1

    def test_hooks_are_called(self, deployment: Deployment) -> None:
        assert deployment.result("myteam.announced") is None
        logged = "myteam.announced ended: SUCCESS"
        workers = [part for part in deployment.stack.parts if part.name.startswith("worker")]
        wait_for(lambda: any(logged in part.output() for part in workers), SECONDS, logged)

    def test_a_page_is_requested_where_outbound_allow_permits(self, deployment: Deployment) -> None:
        with web_server() as web:
            web.answer["/"] = reply(body=b"one\ntwo\n")
            assert deployment.result("myteam.count_lines", url=web.url()) == 2

    def test_an_invoice_is_the_same_from_python(self, deployment: Deployment, reader: Reader) -> None:
        """Created with `task_service`, sent without a record, and called as a function."""
        arguments, result = self.INVOICE
        (sent,) = re.findall(r"`(invoice\.delay\([^`]+\))`", self.PAGE.prose())
        program = f"""
from myteam.tasks import *
from app.db.session import SessionLocal
from app.models import User
from app.services.task_service import task_service

with SessionLocal() as db:
    owner = db.scalars(select(User).where(User.username == "admin")).one()
    print(task_service.create_task(db, "a", "a", "myteam.invoice", kwargs={arguments}, user_id=owner.id)[0].id)
print({sent}.id)
print(invoice(Order(number=7), date(2026, 11, 25)))
"""
        printed = reader.shell(f"set -a; . .data/env\n.venv/bin/python - <<'END OF FILE'\n{program}END OF FILE")
        created, message, called = printed.splitlines()
        assert called == result
        at = f"{TASKS}{created}"
        assert deployment.http.get(at, params={"wait": 60}).json()["result"] == result
        ended = re.compile(rf"{message}\] succeeded in ")
        workers = [part for part in deployment.stack.parts if part.name.startswith("worker")]
        wait_for(lambda: any(ended.search(part.output()) for part in workers), SECONDS, "the message without a record")

    def test_without_a_record_it_is_a_function(self, reader: Reader) -> None:
        """In a shell that has sourced `.data/env`, which holds PYTHONPATH."""
        program = 'from myteam.tasks import resize; print(resize(["a"]))'
        script = f"set -a; . .data/env\n.venv/bin/python -c '{program}'"
        assert reader.shell(script) == "{'done': ['a-m']}\n"

"""What README.md and docs/*.md show is run as a reader pastes it: in order, one clean shell for each document."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.support.documented import ANOTHER_WORKER, DEVELOPMENT, MODULES, PAGES, PRODUCTION, Deployment
from tests.support.pages import ANSWERS, PROGRAMS, Block, like, without
from tests.support.reader import Reader
from tests.support.running import SECONDS, TASKS
from tests.support.services import Services
from tests.support.stack import Stack
from tests.support.waiting import wait_for
from tests.unit.outbound.web_server import reply, web_server

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
    "webhooks.md": ("OUTBOUND_ALLOW=127.0.0.0/8 python3 run_server.py",),
    "writing-tasks.md": ("PYTHONPATH=/srv/mine TASK_MODULES=myteam.tasks python3 run_server.py",),
}
INSTALLED = "changes .venv: its packages are of tests/requirements.txt"
SUITE = "a suite of its own"
LEFT_OUT = {
    "clients.md": {
        "pip install openapi-python-client": INSTALLED,
        "pip install datamodel-code-generator": INSTALLED,
        "npm install": "needs an npm registry: test_generated_clients.py --full",
        "npx openapi-typescript": "needs an npm registry: test_generated_clients.py --full",
    },
    "CONTRIBUTING.md": {
        "make venv": "changes .venv",
        "make run": "run_server.py installs into .venv: tests/e2e",
        "make test-fast": SUITE,
        "make fmt lint types": "changes files; .ci/run",
        ".ci/run": "runs every suite",
    },
    "deployment.md": {
        "SECRET_KEY=$(openssl rand -hex 32)": "needs a Docker engine: test_containers.py, test_sealed_image.py",
        "docker compose up": "needs a Docker engine: test_containers.py, test_sealed_image.py",
    },
    "guarantees.md": {"python3 run_tests.py --suite faults": SUITE, "SOAK_SEED=": SUITE},
    "operations.md": {
        "pip install flower": INSTALLED,
        "celery -A app flower": "does not end: test_celery_commands.py",
    },
    "performance.md": {"python performance_test.py": SUITE},
    "SECURITY.md": {
        "python security_test.py": SUITE,
        "python3 run_tests.py --suite security": SUITE,
        "pytest tests/integration/test_route_matrix.py": SUITE,
        "pytest tests/integration/test_openapi_conformance.py": SUITE,
        "bandit -c pyproject.toml -r app": ".ci/run",
    },
}
WITHOUT_NODE = {"events.md": {"BASE=http://localhost:8000 TOKEN=$TOKEN ID=$ID node follow.mjs": "there is no node"}}
TOOLS = shutil.which("curl") and shutil.which("openssl")
# Blocks that are no commands.
NO_COMMANDS = {
    "acl": "test_broker_security.py",
    "console": "what run_server.py prints: tests/e2e",
    "http": "what a receiver gets: test_outbound.py",
    "mermaid": "a diagram",
    "nginx": "needs nginx and a certificate",
    "sql": "test_audit_roles.py",
}
# Blocks that stand below no command.
ALONE = {"architecture.md": "the map of folders", "operations.md": "a line of the log"}


# What stands before the blocks of a page. The tour sleeps until a task runs; on a machine with other work that takes longer.
GIVEN = {
    "tour.md": """sleep() { until asks "$ID" | grep -q '"status":"running"'; do command sleep 0.05; done; }\n""",
}
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


@pytest.mark.skipif(not TOOLS, reason="needs curl and openssl, as the documents do")
@pytest.mark.parametrize("name", [name for name, page in PAGES.items() if page.commands(not_pasted(name))])
def test_a_page_runs_and_prints_what_it_shows(reader: Reader, name: str) -> None:
    for ran in reader.read(PAGES[name], not_pasted(name), GIVEN.get(name, "")):
        if ran.block.answer is not None:
            shown = reader.adapted(ran.block.answer)
            assert like(shown).search(ran.output), f"shown:\n{shown}\nprinted:\n{ran.output}"
        if ran.block.file == "snippet.py":
            printed, expected = ran.output.strip().splitlines(), prints(ran.block)
            assert len(printed) == len(expected)
            assert [line for line, said in zip(printed, expected, strict=True) if said not in (None, line)] == []


class TestNothingIsLeftOutInSilence:
    @pytest.mark.parametrize("name", PAGES)
    def test_every_block_is_pasted_or_named(self, name: str) -> None:
        for block in PAGES[name].blocks:
            if block.language in PROGRAMS:
                assert block.file or name in MODULES, f"where is it saved? {block.text}"
                assert name in MODULES or any(each.runs(str(block.file)) for each in PAGES[name].blocks), block.file
            elif block.language not in ("bash", *ANSWERS):
                assert block.language in NO_COMMANDS
        answers = sum(block.language in ANSWERS for block in PAGES[name].blocks)
        below = sum(block.answer is not None and block.language == "bash" for block in PAGES[name].blocks)
        assert answers - below == (name in ALONE)

    def test_only_commands_that_the_documents_have_are_named(self) -> None:
        for name in {*STARTED, *LEFT_OUT}:
            shells = [block.text for block in PAGES[name].blocks if block.language == "bash"]
            assert not_pasted(name).keys() == set().union(*(without(text, not_pasted(name))[1] for text in shells)), (
                name
            )
        assert {*ALONE, *MODULES} <= PAGES.keys()
        used = {block.language for page in PAGES.values() for block in page.blocks}
        assert set(NO_COMMANDS) - used == set()


class TestDeployment:
    def test_no_block_of_servers_is_overlooked(self) -> None:
        blocks = [block.text for block in PAGES["deployment.md"].blocks if block.language == "bash"]
        servers = [text for text in blocks if without(text, dict.fromkeys(STARTED["deployment.md"], ""))[1]]
        assert len(servers) == len((PRODUCTION, DEVELOPMENT, ANOTHER_WORKER))

    def test_the_first_administrator_is_created(self, deployment: Deployment) -> None:
        assert deployment.prepared.endswith("created\n")

    def test_the_commands_for_development_start_the_parts_too(self, deployment: Deployment, stack: Stack) -> None:
        del stack
        deployment.develop()


def test_the_task_of_the_readme_runs(deployment: Deployment) -> None:
    assert deployment.result("app.tasks.example_task", arg1=1) == {"anything": "JSON"}


@pytest.mark.usefixtures("stack")
class TestWritingTasks:
    """The tasks of docs/writing-tasks.md end as the page says."""

    PAGE = PAGES["writing-tasks.md"]
    RESULTS: ClassVar[dict[str, tuple[dict[str, Any], Any]]] = {
        "resize": ({"names": ["a", "b"]}, {"done": ["a-m", "b-m"]}),
        "flaky": ({}, 2), "auto": ({}, 1), "by_hand": ({}, 1),
        "bounded": ({}, "stopped early"), "fetch_all": ({}, [0, 1, 4]),
    }  # fmt: skip
    OTHERS = ("patient", "count_tasks", "announced", "count_lines")

    def test_each_of_them_is_in_the_catalogue_and_tried_below(self, deployment: Deployment) -> None:
        written = set(re.findall(r'name="(myteam\.\w+)"', self.PAGE.programs()))
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

    def test_without_a_record_it_is_a_function(self, reader: Reader) -> None:
        """In a shell that has sourced `.data/env`, which holds PYTHONPATH."""
        program = 'from myteam.tasks import resize; print(resize(["a"]))'
        script = f"set -a; . .data/env\n.venv/bin/python -c '{program}'"
        assert reader.shell(script) == "{'done': ['a-m']}\n"

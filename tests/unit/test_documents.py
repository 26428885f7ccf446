"""The documents tell the truth: what they name exists, what they show parses. Cheap checks; no service is needed."""

import ast
import functools
import importlib
import importlib.util
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from app.__main__ import cli
from app.api.http.openapi import openapi_document
from app.api.http.problems import HTTP_PROBLEMS
from app.catalogue import catalogue
from app.core.config import Settings
from app.core.duration_buckets import start_of
from app.core.metrics import TASK_COUNTERS
from app.core.secret_files import SUFFIX
from app.core.setting_fields import secret_names
from app.ddl.columns import Base
from app.errors import ServiceError
from app.launcher.options import parser
from app.main import app
from app.models.task import TRANSITIONS
from app.models.task_filter import FIELDS
from app.models.task_stats import SUM_BUCKETS
from app.services.schedules.service import schedule_service
from app.services.task_service import task_service
from app.services.webhooks.service import webhook_service
from app.services.workflows.service import workflow_service
from task_service_client.cli.app import PANELS
from task_service_client.cli.resources import RESOURCES, commands
from tests.support import http_reference
from tests.support.pages import FENCE, SAVED
from tests.support.services import ROOT
from tests.support.sources import APP, app_files, assert_none, name_of, text_of, tracked_files

README, DOCS = ROOT / "README.md", ROOT / "docs"
DECISIONS = DOCS / "adr"
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.rglob("*.md"))]

LINK = r"\[[^\]]+\]\(([^)\s]+)\)"
BACKTICKED = re.compile(r"`([^`\n]+)`")
CALL = re.compile(r"(?:http://localhost:8000|\$TASK_SERVICE_URL|(?:GET|POST|PUT|PATCH|DELETE) )(/api/v1/[\w/${}-]*)")
# In the sentence that lists them, and wherever run_server.py is called with some.
SERVER_OPTIONS = re.compile(r"The\noptions are (.+?);|run_server\.py((?: --[a-z-]+)+)", re.DOTALL)
# Bases of the error tree, which nothing raises itself.
BASE_CODES = {"forbidden", "conflict", "quota_exceeded"}
# Written in a document as examples for the reader's own code.
EXAMPLE_TASK = "app.tasks.example_task"


def line_of(path: Path, text: str, at: int) -> str:
    return f"{name_of(path)}:{text.count(chr(10), 0, at) + 1}"


def named(pattern: str, text: Callable[[Path], str]) -> list[tuple[str, str]]:
    """The line and the group of each match in all documents."""
    found = [(path, match) for path in DOCUMENTS for match in re.finditer(pattern, text(path))]
    assert len(found) > 10
    return [(line_of(path, match.string, match.start()), match[1]) for path, match in found]


def all_blocks(language: str) -> list[tuple[str, str]]:
    """The line and the text of each block in this language in all documents."""
    found = [(path, match) for path in DOCUMENTS for match in FENCE.finditer(text_of(path)) if match[1] == language]
    assert found
    return [(line_of(path, match.string, match.start()), match[2]) for path, match in found]


def blocks(path: Path, language: str) -> list[str]:
    return [body for kind, body in FENCE.findall(text_of(path)) if kind == language]


@functools.cache
def prose(path: Path) -> str:
    """What is no block, on the lines where it stands."""
    return FENCE.sub(lambda found: "\n" * found[0].count("\n"), text_of(path))


def section(path: Path, heading: str) -> str:
    """What stands below a heading of the second level."""
    return text_of(path).partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def slug(heading: str) -> str:
    """A heading's anchor, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@functools.cache
def anchors(path: Path) -> set[str]:
    return {slug(heading) for heading in re.findall(r"^#+ (.+)$", prose(path), flags=re.MULTILINE)}


def map_paths(tree: str) -> Iterator[str]:
    """The paths of a folder map: four columns of `├── ` a level, and what follows the name explains it."""
    folders: list[str] = []
    for line in tree.splitlines():
        found = re.match(r"((?:[│├└─ ]{4})*)([\w./-]+)", line)
        assert found, f"not a line of a folder map: {line!r}"
        depth, name = len(found[1]) // 4, found[2]
        folders[depth:] = [name]
        yield "".join(folders[: depth + 1])


def described_paths() -> set[str]:
    return set(openapi_document(app)["paths"])


def why_broken(place: str, target: str) -> str:
    """What is wrong with a link, or nothing."""
    file, _, anchor = target.partition("#")
    path = ROOT / place.partition(":")[0]
    linked = path.parent / file if file else path
    if not linked.exists():
        return f"{place}: there is no file {target}"
    return f"{place}: there is no heading {target}" if anchor and anchor not in anchors(linked) else ""


def syntax_error(source: str) -> str:
    try:
        ast.parse(source)
    except SyntaxError as error:
        return str(error)
    return ""


class TestEveryDocument:
    def test_relative_links_resolve(self) -> None:
        links = [(place, target) for place, target in named(LINK, prose) if not re.match(r"\w+:", target)]
        assert_none(why for place, target in links if (why := why_broken(place, target)))

    def test_files_that_it_names_exist(self) -> None:
        files = named(r"`((?:app|tests|docs)/[\w./-]*|[\w-]+\.(?:bat|yml|toml|txt)|\.env\.example)`", prose)
        assert_none(
            f"{place}: there is no {file}"
            for place, file in files
            if not any((folder / file).exists() for folder in (ROOT, (ROOT / place.partition(":")[0]).parent))
        )

    def test_settings_that_it_names_exist(self) -> None:
        """A variable is a setting or its file, one of the reference, the image, or a script of the root or the client."""
        known = {name.upper() for name in Settings.model_fields} | {name + SUFFIX for name in secret_names(Settings)}
        known |= set(re.findall(r"\b([A-Z]+(?:_[A-Z]+)+)=", text_of(ROOT / "Dockerfile")))
        known |= set(BACKTICKED.findall(section(DOCS / "configuration.md", "Variables of other programs")))
        scripts = "\n".join(map(text_of, [*ROOT.glob("*.py"), *(ROOT / "client").rglob("*.py")]))
        known |= set(re.findall(r'environ\W+get\W+"?(\w+)', scripts))
        settings = named(r"`([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)(?:=[^`\n]*)?`", prose)
        assert_none(f"{place}: there is no setting {name}" for place, name in settings if name not in known)

    def test_python_blocks_parse_and_import_what_the_service_has(self) -> None:
        sources = all_blocks("python")
        assert_none(f"{place}: {error}" for place, source in sources if (error := syntax_error(source)))
        imports = [
            (place, str(node.module), alias.name)
            for place, source in sources
            for node in ast.walk(ast.parse(source))
            if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] == "app"
            for alias in node.names
        ]
        assert imports
        assert_none(
            f"{place}: {module} has no {name}"
            for place, module, name in imports
            if not hasattr(importlib.import_module(module), name)
        )

    def test_diagrams_are_of_a_known_kind(self) -> None:
        kinds = [(place, diagram.split(maxsplit=1)[0]) for place, diagram in all_blocks("mermaid")]
        known = {"flowchart", "stateDiagram-v2", "sequenceDiagram"}
        assert_none(f"{place}: no diagram is a {kind}" for place, kind in kinds if kind not in known)

    def test_tasks_that_it_names_are_in_the_catalogue(self) -> None:
        known = {EXAMPLE_TASK, *catalogue()}
        tasks = named(r"\b(app\.tasks\.\w+_tasks?\.\w+)", text_of)
        assert_none(f"{place}: there is no task {name}" for place, name in tasks if name not in known)

    def test_fences_are_closed(self) -> None:
        fences = {name_of(path): re.findall(r"^```", text_of(path), flags=re.MULTILINE) for path in DOCUMENTS}
        assert_none(f"{file}: a block has no end" for file, found in fences.items() if len(found) % 2)


class TestReadme:
    def test_stays_short(self) -> None:
        assert 250 <= len(text_of(README).split()) <= 500

    def test_of_databases_says_what_is_not_there_yet(self) -> None:
        """When one of these is built, the sentence has to go."""
        assert "There is no way from one engine to another" in text_of(DOCS / "servers.md")
        commands = {command.name or command.callback.__name__ for command in cli.registered_commands}
        assert "migrate" in commands
        assert_none(f"{name} is there" for name in ("export", "import") if name in commands)


class TestIndex:
    def test_lists_every_page_once(self) -> None:
        listed = re.findall(LINK, text_of(DOCS / "README.md"))
        assert {path.name for path in DOCS.glob("*.md")} - {"README.md"} <= set(listed)
        assert len(listed) == len(set(listed))


class TestCommands:
    TEXT = "\n".join(map(text_of, DOCUMENTS))

    def test_options_of_run_server_exist(self) -> None:
        known = {option for action in parser()._actions for option in action.option_strings}
        shown = [text for found in SERVER_OPTIONS.findall(self.TEXT) for text in found]
        named = [name for text in shown for name in re.findall(r"--[a-z-]+", text)]
        assert len(named) > len(known) / 2
        assert set(named) <= known

    def test_scripts_that_are_run_exist(self) -> None:
        scripts = re.findall(r"(?:python3?|^\$) ([\w.-]+\.py)|`(run_unit_tests\.bat)", self.TEXT, flags=re.MULTILINE)
        assert scripts
        missing = {name for pair in scripts for name in pair if name and not (ROOT / name).is_file()}
        assert missing <= set(SAVED.findall(self.TEXT))

    def test_tests_that_are_run_exist(self) -> None:
        named = re.findall(r"pytest [^`\n]*?(tests/[\w/.]+)", text_of(README))
        assert named
        assert_none(f"README.md: there is no {name}" for name in named if not (ROOT / name).exists())


class TestCommandLine:
    PAGE = DOCS / "command-line.md"

    def test_shows_each_command(self) -> None:
        shown = re.findall(r"`([a-z]+)", text_of(self.PAGE).replace("task-service ", "`"))
        rows = dict(re.findall(r"^\| `([a-z]+) ([a-z|\\]+)", text_of(self.PAGE), flags=re.MULTILINE))
        assert {name for names in PANELS.values() for name in names} - set(shown) == set()
        of_resources = {name: set(commands(resource)) for name, resource in RESOURCES.items()}
        assert {name: set(row.split("\\|")) for name, row in rows.items()} == of_resources


class TestHttpApi:
    PAGE = DOCS / "http-api.md"

    def test_calls_in_every_document_are_routes(self) -> None:
        called = CALL.findall("\n".join(map(text_of, DOCUMENTS)))
        assert called
        names = {"$ID": "{task_id}", "{id}": "{task_id}", "$HOOK": "{webhook_id}", "$DELIVERY": "{delivery_id}"}
        names |= {
            "$SCHEDULE": "{schedule_id}",
            "$WORKFLOW": "{workflow_id}",
            "$each": "{schedule_id}",
            "$NAME": "{name}",
        }
        paths = {
            re.sub(r"\$[A-Z]+|\$each|\{id\}", lambda found: names.get(found[0], found[0]), path) for path in called
        }
        assert paths <= described_paths()

    def test_its_tables_are_made_from_the_openapi_document(self) -> None:
        """If this fails: python -m tests.support.http_reference --write."""
        assert http_reference.stale() == []

    def test_has_a_table_of_every_group_of_operations(self) -> None:
        named = {tag for tags in re.findall(r"<!-- calls: ([\w ]+) -->", text_of(self.PAGE)) for tag in tags.split()}
        described = [operation for methods in openapi_document(app)["paths"].values() for operation in methods.values()]
        assert named == {tag for operation in described for tag in operation["tags"]}

    def test_lists_every_code_of_an_error(self) -> None:
        def codes(kind: type[ServiceError]) -> Iterator[str]:
            for each in kind.__subclasses__():
                yield from ({each.code, *codes(each)} if each.code not in BASE_CODES else codes(each))

        raised = {*codes(ServiceError), *(code for code, _ in HTTP_PROBLEMS.values()), "internal_error"}
        assert raised - set(BACKTICKED.findall("\n".join(map(text_of, DOCUMENTS)))) == set()

    def test_the_state_diagram_is_the_table_of_transitions(self) -> None:
        (diagram,) = (text for text in blocks(self.PAGE, "mermaid") if text.startswith("stateDiagram"))
        drawn = {(source, to) for source, to in re.findall(r"^\s*(\w+) --> (\w+)", diagram, flags=re.MULTILINE)}
        assert drawn == {(source.value, to.value) for source, all_to in TRANSITIONS.items() for to in all_to}


class TestPythonApi:
    def test_functions_take_the_parameters_that_it_names(self) -> None:
        rows = re.findall(r"^\| (`\w+\(.*?\)`) \|", text_of(DOCS / "python-api.md"), flags=re.MULTILINE)
        listed = re.findall(r"`(\w+)\((.*?)\)`", "\n".join(rows))
        services = (task_service, webhook_service, schedule_service, workflow_service)
        assert len(listed) > 50
        for name, parameters in listed:
            function = next(getattr(each, name) for each in services if hasattr(each, name))
            known = set(inspect.signature(function).parameters)
            named = {part.split("=")[0].strip("* ") for part in parameters.split(",")} - {""}
            assert named - known == set(), name

    def test_lists_every_filter(self) -> None:
        (row,) = re.findall(r"^\| `get_tasks\((.*?)\)` \|(.*)$", text_of(DOCS / "python-api.md"), flags=re.MULTILINE)
        parameters, returns = row
        listed = {*parameters.replace("=None", "").split(", "), *BACKTICKED.findall(returns.partition("`filters`:")[2])}
        assert FIELDS.keys() - listed == set()


class TestFilters:
    def test_of_the_list_are_all_told(self) -> None:
        told = text_of(DOCS / "http-api.md").partition("\n### Filters and pages\n")[2].partition("\n### ")[0]
        assert FIELDS.keys() - set(BACKTICKED.findall(told)) == set()

    def test_of_the_search_are_all_told(self) -> None:
        told = set(BACKTICKED.findall(section(DOCS / "pages.md", "Search")))
        assert {f"{field.key}:" for field in FIELDS.values()} - told == set()


class TestOperations:
    PAGE = DOCS / "operations.md"

    def test_metrics_are_those_of_the_code(self) -> None:
        source = "".join(text_of(APP / "core" / name) for name in ("metrics.py",))
        made = re.findall(r'(?:Counter|Histogram|Summary|MetricFamily)\(\s*"(\w+)"', source)
        made += [name for name, _ in TASK_COUNTERS.values()]
        told, _, exporter = section(self.PAGE, "Metrics").partition("\n### Coming from celery-exporter\n")
        named = re.findall(
            r"`(\w+)(?:\{[\w,]+\})?`(?=[^|\n]*\|)", "\n".join(re.findall(r"^\|[^|]+\|", told, flags=re.MULTILINE))
        )
        assert sorted(named) == sorted(set(made))
        bounds = told.partition("The bounds of the histograms are ")[2].partition(" seconds.")[0]
        assert [float(each) for each in re.split(r",\s+|\s+and\s+", bounds)] == [start_of(each) for each in SUM_BUCKETS]
        left_out = [line for line in exporter.splitlines() if "| left out: " in line]
        assert left_out
        assert set(re.findall(r"`(celery_\w+)`", "".join(line.split("|")[1] for line in left_out))) & set(made) == {
            "celery_task_failed_total"  # its label
        }

    def test_log_lines_are_those_of_the_code(self) -> None:
        """A line that cannot be found in the log is of no help: what stands between the … is looked for in app/."""
        source = "\n".join(map(text_of, app_files()))
        lines = re.findall(r"^\| `(.+?)` \|", section(DOCS / "repair.md", "Logs"), flags=re.MULTILINE)
        assert lines
        parts = {part.strip(" :") for line in lines for part in line.split("…")} - {""}
        assert {part for part in parts if part not in source} == set()


class TestArchitecture:
    def test_paths_of_the_folder_map_exist_and_no_room_is_missing(self) -> None:
        (tree, *_) = blocks(DOCS / "architecture.md", "")
        mapped = set(map_paths(tree))
        assert {path for path in mapped if not (ROOT / path).exists()} == set()
        assert {f"app/{path.parent.name}/" for path in APP.glob("*/__init__.py")} <= mapped

    def test_says_of_each_table_who_writes_it(self) -> None:
        named = BACKTICKED.findall(section(DOCS / "architecture.md", "Who writes which column"))
        assert Base.metadata.tables.keys() - set(named) == set()

    def test_paths_of_the_short_folder_map_exist(self) -> None:
        (tree,) = blocks(DOCS / "faq.md", "")
        mapped = set(map_paths(tree))
        assert "app/main.py" in mapped
        assert {path for path in mapped if not (ROOT / path).exists()} == set()


class TestDeployment:
    def test_the_settings_that_it_shows_are_enough_for_development(self) -> None:
        (shown,) = blocks(DOCS / "deployment.md", "ini")
        values = dict(line.split("=", 1) for line in shown.splitlines())
        settings = Settings.model_validate({name.lower(): value for name, value in values.items()})
        assert settings.database_url
        assert (
            settings.database_url.get_secret_value().partition("://")[2] == values["DATABASE_URL"].partition("://")[2]
        )
        assert values.keys() - {name.upper() for name in Settings.model_fields} == set()


class TestDecisions:
    FILES = sorted(path for path in DECISIONS.glob("[0-9]*.md"))

    def test_have_a_number_each_and_are_all_in_the_index(self) -> None:
        """A number is missing where a decision was replaced, or is told by another one."""
        assert len({path.name[:4] for path in self.FILES}) == len(self.FILES)
        assert re.findall(LINK, text_of(DECISIONS / "README.md")) == [path.name for path in self.FILES]

    def test_have_the_four_parts(self) -> None:
        four = ["Context", "Decision", "Consequence", "Rejected"]
        parts = {path: re.findall(r"^## (.+)$", text_of(path), flags=re.MULTILINE) for path in self.FILES}
        assert_none(f"{name_of(path)}: has {found}" for path, found in parts.items() if found != four)
        wrong = [path for path in self.FILES if not text_of(path).startswith(f"# {path.name[:4]}: ")]
        assert_none(f"{name_of(path)}:1: does not begin with the number" for path in wrong)


class TestTrackedFiles:
    def test_name_no_place_of_one_machine(self) -> None:
        place = re.compile(rb"(?<![\w.])/(?:work|root|home/\w+|Users/\w+)/")
        contents = {path: path.read_bytes() for path in tracked_files() or DOCUMENTS if path != Path(__file__)}
        assert_none(
            f"{name_of(path)}:{number}: names a place of one machine: {line.decode(errors='replace')}"
            for path, content in contents.items()
            if path.suffix != ".png" and place.search(content)
            for number, line in enumerate(content.splitlines(), start=1)
            if place.search(line)
        )


class TestGuarantees:
    """docs/guarantees.md names a test for each promise."""

    NAMED = re.compile(r"`[^`]*::(test_\w+)`")
    PAGE = DOCS / "guarantees.md"

    def test_every_test_that_it_names_exists(self) -> None:
        named = set(self.NAMED.findall(text_of(self.PAGE)))
        written = {
            node.name
            for path in (ROOT / "tests").rglob("test_*.py")
            for node in ast.walk(ast.parse(text_of(path)))
            if isinstance(node, ast.FunctionDef)
        }
        assert len(named) > 30
        assert named - written == set()

    def test_every_row_of_a_promise_names_one(self) -> None:
        rows = [line for line in text_of(self.PAGE).splitlines() if line.startswith("| ") and "|---" not in line]
        assert len(rows) > 10
        assert_none(
            f"guarantees.md names no test: {row}"
            for row in rows
            if not row.startswith("| promise") and not self.NAMED.search(row)
        )

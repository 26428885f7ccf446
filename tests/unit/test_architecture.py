"""The packages of `app/` import in one direction; docs/architecture.md draws them."""

import ast
import functools
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.support.services import ROOT
from tests.support.sources import app_files, assert_none, name_of, text_of

# From the ground up: a package imports itself and those above it in this list, also inside functions.
PACKAGES = (
    "app.errors", "app.core", "app.schedules", "app.workflows",
    "app.ddl",
    "app.models", "app.db", "app.db.statements", "app.db.postgresql", "app.db.sql", "app.storage",
    "app.outbound", "app.messaging.guard", "app.messaging", "app.catalogue", "app.schemas",
    "app.services.outbox", "app.services.execution", "app.services.audit", "app.services.accounts", "app.services.operations",
    "app.services.tasks", "app.services.webhooks", "app.services.workflows", "app.services.batched", "app.services.bulk", "app.services", "app.services.files",
    "app.live", "app.maintenance", "app.beat",
    "app.worker.shared", "app.worker.child", "app.worker.parent", "app.worker",
    "app.celery_app", "app.celery", "app.tasks", "app.testing",
    "app.api.http", "app.api", "app.mcp", "app.web", "app.main",
    "app.migrations.baselines", "app.migrations", "app.launcher", "app.doctor", "app.client", "app.__main__",
)  # fmt: skip
# They stand in one order above, but know nothing of each other.
STRANGERS = (
    {"app.live", "app.maintenance"},
    {"app.live", "app.beat"},
    {"app.worker.child", "app.worker.parent"},
    {"app.tasks", "app.api"},
    {"app.tasks", "app.api.http"},
)
# Needs nothing of the service: it makes the environment in which the service runs.
STANDS_ALONE = "app.launcher"

# Who may ask for the settings; everything else is given them, or the one value that it needs.
ASKS_FOR_SETTINGS = {
    # It puts a process together,
    "app.main",
    "app.__main__",
    "app.launcher.trial",
    "app.beat.scheduler",
    "app.db.postgresql.prepared",
    "app.db.session",
    "app.messaging.application",
    "app.messaging.loader",
    "app.worker.bootsteps",
    "app.worker.child.process",
    # chooses the statements of the engine before any of its modules is imported,
    "app.db.sql",
    # or opens the storage once it is used,
    "app.storage",
    # is built by FastAPI, uvicorn, Celery or kombu,
    "app.api.deps",
    "app.api.http.protocol",
    "app.messaging.guard.commands",
    "app.worker.parent.consumer",
    # is called by other people's code,
    "app.catalogue",
    "app.core.security",
    "app.outbound.client",
    # or by pydantic.
    "app.outbound.fields",
    "app.schemas.values",
    "app.schemas.task",
    "app.tasks.high_priority_tasks",
}
# Here only what is public.
PUBLIC_ASKS_FOR_SETTINGS = ("app.services.", "app.tasks.")
ON_REAL_SERVICES = ("integration", "faults", "load", "security")


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(path): path for path in app_files() if module_of(path) != "app"}


def imported(module: str) -> Iterator[tuple[str, str, str]]:
    """The modules of the app that a module imports, anywhere in it: the line, the module, and the name that it takes."""
    for node in ast.walk(ast.parse(text_of(MODULES[module]))):
        if isinstance(node, ast.Import):
            names = [(alias.name, "") for alias in node.names if alias.name in MODULES]
        elif isinstance(node, ast.ImportFrom) and node.module in MODULES:
            inner = [(f"{node.module}.{alias.name}", alias.name) for alias in node.names]
            names = [(path, "") if path in MODULES else (node.module, name) for path, name in inner]
        else:
            continue
        yield from ((f"{name_of(MODULES[module])}:{node.lineno}", found, name) for found, name in names)


@functools.cache
def all_imports() -> dict[str, list[tuple[str, str, str]]]:
    return {module: [each for each in imported(module) if each[1] != module] for module in MODULES}


def package_of(module: str) -> str:
    return max((each for each in PACKAGES if module == each or module.startswith(f"{each}.")), key=len)


def test_every_module_stands_in_a_package() -> None:
    homeless = [module for module in MODULES if not any(f"{module}.".startswith(f"{each}.") for each in PACKAGES)]
    assert_none(f"{module} stands in none of PACKAGES" for module in homeless)


def test_packages_import_in_one_direction() -> None:
    assert_none(
        f"{place} imports {found}, which is further down in PACKAGES"
        for module in MODULES
        for place, found, _ in all_imports()[module]
        if PACKAGES.index(package_of(found)) > PACKAGES.index(package_of(module))
    )


def test_strangers_do_not_import_each_other() -> None:
    assert {package for pair in STRANGERS for package in pair} <= {*PACKAGES}
    assert_none(
        f"{place} imports {found}, of which it is to know nothing"
        for module in MODULES
        for place, found, _ in all_imports()[module]
        if {package_of(module), package_of(found)} in STRANGERS
    )


def test_no_module_is_in_an_import_circle() -> None:
    check_circles({module: {found for _, found, _ in imports} for module, imports in all_imports().items()})


def test_no_module_of_the_command_line_is_in_an_import_circle() -> None:
    cli = "task_service_client.cli"
    modules = {path.stem: path for path in (ROOT / "client" / "task_service_client" / "cli").glob("*.py")}
    graph: dict[str, set[str]] = {}
    for name, path in modules.items():
        nodes = [node for node in ast.walk(ast.parse(text_of(path))) if isinstance(node, ast.ImportFrom)]
        whole = {alias.name for node in nodes if node.module == cli for alias in node.names}
        graph[name] = (whole | {str(node.module).removeprefix(f"{cli}.") for node in nodes}) & modules.keys()
    check_circles(graph)


def check_circles(graph: dict[str, set[str]]) -> None:
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as circle:
        pytest.fail(" imports ".join(reversed(circle.args[1])))


def test_no_package_takes_a_private_name_of_another() -> None:
    assert_none(
        f"{place} takes {found}.{name}"
        for module in MODULES
        for place, found, name in all_imports()[module]
        if (name.startswith("_") or found.rpartition(".")[2].startswith("_"))
        and not name.startswith("__")
        and package_of(found) != package_of(module)
    )


def askers(node: ast.AST, inside: str = "") -> Iterator[tuple[int, str]]:
    """The lines that call `get_settings()`, and the innermost functions there; "" for the module itself."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Call) and ast.unparse(child.func).rpartition(".")[2] == "get_settings":
            yield child.lineno, inside
        yield from askers(child, child.name if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) else inside)


def test_settings_are_passed_to_what_needs_them() -> None:
    found = {
        module: [*askers(ast.parse(text_of(path)))] if "get_settings" in text_of(path) else []
        for module, path in MODULES.items()
    }
    assert_none(f"{module} may leave ASKS_FOR_SETTINGS" for module in sorted(ASKS_FOR_SETTINGS) if not found[module])
    assert_none(
        f"{name_of(MODULES[module])}:{line}: {function or 'the module itself'} is to be given what it needs"
        for module, calls in found.items()
        if module not in ASKS_FOR_SETTINGS
        for line, function in calls
        if not module.startswith(PUBLIC_ASKS_FOR_SETTINGS) or not function or function.startswith("_")
    )


def test_tests_on_real_services_use_no_private_names() -> None:
    """Neither those of the app nor of what was made from it: such a test would fail at a change that no user notices."""
    suites = {suite: [*(ROOT / "tests" / suite).rglob("*.py")] for suite in ON_REAL_SERVICES}
    assert all(suites.values())
    found = []
    for path in sorted(path for suite in suites.values() for path in suite):
        nodes = list(ast.walk(ast.parse(text_of(path))))
        modules = {alias.asname or alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        for node in nodes:
            match node:
                case ast.ImportFrom(module=str(module), names=aliases) if f"{module}.".startswith("app."):
                    names = [alias.name for alias in aliases]
                case ast.Attribute(value=owner, attr=name) if name.startswith("_"):
                    names = [name] if ast.unparse(owner) not in {"self", "cls", *modules} else []
                case ast.Call(func=ast.Attribute(attr="setattr"), args=[_, ast.Constant(value=str(name)), *_]):
                    names = [name]
                case _:
                    continue
            private = [name for name in names if name.startswith("_") and not name.startswith("__")]
            found += [f"{name_of(path)}:{node.lineno}: {name}" for name in private]
    assert_none(found)


def test_no_test_file_imports_another() -> None:
    """What two of them use is in `tests/support` or a conftest.py: to change a test breaks no other one."""
    assert_none(
        f"{name_of(path)}: {module}"
        for path in sorted((ROOT / "tests").rglob("*.py"))
        for module in re.findall(r"^\s*from (tests\.[\w.]*\btest_\w+) import", text_of(path), re.MULTILINE)
    )


def test_the_launcher_needs_nothing_of_the_service() -> None:
    """But for settings, which say what to start, and their files, engines of DATABASE_URL, exit codes, and places of errors."""
    own = [module for module in MODULES if module.startswith(STANDS_ALONE)]
    others = {found for module in own for _, found, _ in all_imports()[module] if not found.startswith(STANDS_ALONE)}
    assert others == {"app.core.config", "app.core.engines", "app.core.process_start", "app.core.secret_files"}


def test_services_know_no_http() -> None:
    """No status codes and no locations of fields; `"header"` and the like are words of the API alone."""
    words = {"body", "query", "header", "path", "cookie"}
    found = []
    for module, path in MODULES.items():
        if not module.startswith(("app.services", "app.errors", "app.catalogue")):
            continue
        for node in ast.walk(ast.parse(text_of(path))):
            if isinstance(node, ast.Dict):
                keys = [key.value for key in node.keys if isinstance(key, ast.Constant)]
                firsts = [value.elts[:1] for value in node.values if isinstance(value, ast.List)]
                heads = {first[0].value for first in firsts if first and isinstance(first[0], ast.Constant)}
                if "loc" in keys and heads & words:
                    found.append(f"{name_of(path)}:{node.lineno}: a location of a field")
            elif (isinstance(node, ast.Import | ast.ImportFrom) and "http" in ast.dump(node).lower().split("'")) or (
                isinstance(node, ast.Attribute) and node.attr in {"status_code", "HTTPStatus"}
            ):
                found.append(f"{name_of(path)}:{node.lineno}: HTTP")
    assert_none(found)

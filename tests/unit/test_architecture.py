"""The rooms of `app/` import in one direction; docs/architecture.md draws them."""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.support.sources import ROOT, app_files, text_of

# From the ground up: a room imports itself and rooms above it in this list, also inside functions.
ROOMS = (
    "app.errors", "app.core",
    "app.db.sizes", "app.db.trigger_terms", "app.db.postgresql.schema", "app.db.portable.schema", "app.db",
    "app.models", "app.db.every_engine", "app.db.postgresql", "app.db.portable", "app.db.sql",
    "app.outbound", "app.messaging.guard", "app.messaging", "app.catalogue", "app.schemas",
    "app.services.execution", "app.services.audit", "app.services.accounts", "app.services.operations",
    "app.services.tasks", "app.services.batched", "app.services.bulk", "app.services",
    "app.live", "app.maintenance", "app.beat",
    "app.worker.shared", "app.worker.child", "app.worker.parent", "app.worker",
    "app.celery_app", "app.celery", "app.tasks", "app.testing",
    "app.api.http", "app.api", "app.web", "app.main",
    "app.migrations.baselines", "app.migrations", "app.launcher", "app.__main__",
)  # fmt: skip
# They stand in one order above, but know nothing of each other.
STRANGERS = (
    {"app.db.postgresql", "app.db.portable"},
    {"app.db.postgresql.schema", "app.db.portable.schema"},
    {"app.live", "app.maintenance"},
    {"app.live", "app.beat"},
    {"app.worker.child", "app.worker.parent"},
    {"app.tasks", "app.api"},
    {"app.tasks", "app.api.http"},
)
# Begins the docstring of a module of `app/db/portable/` that borrows PostgreSQL's statements until it is written.
STAND_IN = '"""Stand-in'
# Needs nothing of the service: it makes the environment in which the service runs.
STANDS_ALONE = "app.launcher"

# Who may ask for the settings; everything else is given them, or the one value that it needs.
ASKS_FOR_SETTINGS = {
    # It puts a process together,
    "app.main",
    "app.__main__",
    "app.beat.process",
    "app.db.postgresql.prepared",
    "app.db.session",
    "app.messaging.application",
    "app.messaging.loader",
    "app.worker.bootsteps",
    "app.worker.child.process",
    # chooses the room of the engine before any of its modules is imported,
    "app.db.sql",
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
    "app.schemas.json_value",
    "app.schemas.task",
    "app.tasks.high_priority_tasks",
}
# Here only what is public.
PUBLIC_ASKS_FOR_SETTINGS = ("app.services.", "app.tasks.")


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {name_of(path): path for path in app_files() if name_of(path) != "app"}


def imported(module: str) -> Iterator[tuple[str, str]]:
    """The modules of the app that a module imports, anywhere in it, each with the name that it takes."""
    for node in ast.walk(ast.parse(text_of(MODULES[module]))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module in MODULES:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield (inner, "") if inner in MODULES else (node.module, alias.name)


IMPORTS = {module: [(found, name) for found, name in imported(module) if found != module] for module in MODULES}


def room_of(module: str) -> str:
    return max((room for room in ROOMS if module == room or module.startswith(f"{room}.")), key=len)


def test_every_module_stands_in_a_room() -> None:
    assert [module for module in MODULES if not any(f"{module}.".startswith(f"{room}.") for room in ROOMS)] == []


def test_rooms_import_in_one_direction() -> None:
    wrong = [
        f"{module} imports {found}"
        for module in MODULES
        for found, _ in IMPORTS[module]
        if ROOMS.index(room_of(found)) > ROOMS.index(room_of(module))
    ]
    assert wrong == []


@pytest.mark.parametrize("strangers", STRANGERS, ids=lambda rooms: " ".join(sorted(rooms)))
def test_strangers_do_not_import_each_other(strangers: set[str]) -> None:
    assert [
        f"{module} imports {found}"
        for module in MODULES
        if room_of(module) in strangers and not text_of(MODULES[module]).startswith(STAND_IN)
        for found, _ in IMPORTS[module]
        if room_of(found) in strangers - {room_of(module)}
    ] == []


def test_no_module_is_in_an_import_circle() -> None:
    try:
        tuple(TopologicalSorter({module: {found for found, _ in IMPORTS[module]} for module in MODULES}).static_order())
    except CycleError as circle:
        pytest.fail(" imports ".join(reversed(circle.args[1])))


def test_no_room_takes_a_private_name_of_another() -> None:
    assert [
        f"{module} takes {found}.{name}"
        for module in MODULES
        for found, name in IMPORTS[module]
        if (name.startswith("_") or found.rpartition(".")[2].startswith("_"))
        and not name.startswith("__")
        and room_of(found) != room_of(module)
    ] == []


def askers(node: ast.AST, inside: str = "") -> Iterator[str]:
    """The innermost functions that call `get_settings()`; "" for the module itself."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Call) and ast.unparse(child.func).rpartition(".")[2] == "get_settings":
            yield inside
        yield from askers(child, child.name if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) else inside)


def test_settings_are_passed_to_what_needs_them() -> None:
    found = {module: list(askers(ast.parse(path.read_text(encoding="utf-8")))) for module, path in MODULES.items()}
    assert [module for module in sorted(ASKS_FOR_SETTINGS) if not found[module]] == []  # it may leave the list
    assert [
        f"{module}: {function or 'the module itself'}"
        for module, functions in found.items()
        if module not in ASKS_FOR_SETTINGS
        for function in functions
        if not module.startswith(PUBLIC_ASKS_FOR_SETTINGS) or not function or function.startswith("_")
    ] == []


@pytest.mark.parametrize("suite", ["integration", "faults", "load", "security"])
def test_tests_on_real_services_use_no_private_names(suite: str) -> None:
    """Neither those of the app nor of what was made from it: such a test would fail at a change that no user notices."""
    found: list[tuple[str, int, str]] = []
    for path in sorted((ROOT / "tests" / suite).rglob("*.py")):
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        modules = {alias.asname or alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        for node in nodes:
            match node:
                case ast.ImportFrom(module=str(module), names=aliases) if f"{module}.".startswith("app."):
                    names = [alias.name for alias in aliases]
                case ast.Attribute(value=owner, attr=name) if ast.unparse(owner) not in {"self", "cls", *modules}:
                    names = [name]
                case ast.Call(func=ast.Attribute(attr="setattr"), args=[_, ast.Constant(value=str(name)), *_]):
                    names = [name]
                case _:
                    continue
            private = [name for name in names if name.startswith("_") and not name.startswith("__")]
            found += [(path.name, node.lineno, name) for name in private]
    assert found == []


def test_the_launcher_needs_nothing_of_the_service() -> None:
    """But for the settings, which it reads to know what to start, and the engines that DATABASE_URL may name."""
    found = {name for module in MODULES if module.startswith(STANDS_ALONE) for name, _ in IMPORTS[module]}
    assert {name for name in found if not name.startswith(STANDS_ALONE)} == {"app.core.config", "app.core.engines"}


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
                    found.append(f"{module}:{node.lineno}")
            elif (isinstance(node, ast.Import | ast.ImportFrom) and "http" in ast.dump(node).lower().split("'")) or (
                isinstance(node, ast.Attribute) and node.attr in {"status_code", "HTTPStatus"}
            ):
                found.append(f"{module}:{node.lineno}")
    assert found == []

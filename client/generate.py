#!/usr/bin/env python3
"""Write what is made from other files: `_sync` from `_async`, and `models.py` from the OpenAPI document of the service.

    python client/generate.py            write them
    python client/generate.py --check    say whether they are as they would be written

It needs the service's code, datamodel-code-generator and unasync (tests/requirements.txt).
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PACKAGE = HERE / "task_service_client"
sys.path.insert(0, str(HERE.parent))
# The schemas of the service that the client has models of, and their names here.
SCHEMAS = {
    "TaskRead": "Task", "TaskBatchRead": "TaskBatch", "TaskAttemptRead": "Attempt", "TaskTypeRead": "TaskType",
    "TaskLogRead": "LogLine", "TaskOutputRead": "OutputChunk", "FileRead": "File", "ArtifactRead": "Artifact",
    "BulkPreview": "BulkPreview", "BulkRead": "BulkDeed",
}  # fmt: skip
SYNC = {
    "AsyncClient": "Client", "AsyncTransport": "Transport", "AsyncTurns": "Turns", "async_sleep": "sleep",
    "async_in_thread": "in_thread", "async_as_a_whole": "as_a_whole", "async_rest": "rest",
    "aread": "read", "aclose": "close", "aiter_bytes": "iter_bytes",
    "asynccontextmanager": "contextmanager", "_async": "_sync",
}  # fmt: skip
HEADER = '''"""The models of answers, made by `client/generate.py`: change nothing here."""
# mypy: disable-error-code="no-redef"'''
SYNC_DOCSTRING = '"""The client, without an event loop: `generate.py` makes it of `_async`."""\n'


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder)
        write_sync(made / "_sync")
        write_models(made / "models.py")
        written = {path.relative_to(made): path.read_text(encoding="utf-8") for path in sorted(made.rglob("*.py"))}
    if "--check" in sys.argv:
        stale = [path for path, text in written.items() if not _is(PACKAGE / path, text)]
        sys.stdout.writelines(f"{path} is stale: run python client/generate.py\n" for path in stale)
        return 1 if stale else 0
    for path, text in written.items():
        (PACKAGE / path).parent.mkdir(exist_ok=True)
        (PACKAGE / path).write_text(text, encoding="utf-8")
    return 0


def write_sync(folder: Path) -> None:
    import unasync

    sources = sorted((PACKAGE / "_async").glob("*.py"))
    rule = unasync.Rule(f"{PACKAGE}/_async/", f"{folder}/", additional_replacements=SYNC)
    unasync.unasync_files([str(path) for path in sources], [rule])
    (folder / "__init__.py").write_text(SYNC_DOCSTRING, encoding="utf-8")
    _format(folder)


def write_models(path: Path) -> None:
    document = path.with_suffix(".json")
    document.write_text(json.dumps({"$defs": dict(_definitions())}), encoding="utf-8")
    command = [
        "datamodel-codegen", "--input", document, "--input-file-type", "jsonschema", "--output", path,
        "--output-model-type", "pydantic_v2.BaseModel", "--base-class", "task_service_client.base.Model",
        "--target-python-version", "3.11", "--use-standard-collections", "--use-union-operator", "--disable-timestamp",
        "--use-field-description", "--use-schema-description", "--skip-root-model", "--enum-field-as-literal", "all",
        "--formatters", "builtin",
        "--custom-file-header", HEADER,
    ]  # fmt: skip
    subprocess.run([Path(sys.executable).with_name(str(command[0])), *map(str, command[1:])], check=True)
    document.unlink()
    _format(path)


def _definitions() -> Iterator[tuple[str, Any]]:
    """Yield the schemas of SCHEMAS and what they refer to, under their names here."""
    from app.main import app

    schemas = app.openapi()["components"]["schemas"]
    wanted = [*SCHEMAS]
    for name in wanted:
        wanted += [each for each in dict.fromkeys(_references(schemas[name])) if each not in wanted]
        if "enum" not in schemas[name]:
            yield SCHEMAS.get(name, name), _cleaned(schemas[name], schemas)


def _references(schema: Any) -> Iterator[str]:
    for key, value in schema.items() if isinstance(schema, dict) else enumerate(schema):
        if key == "$ref":
            yield value.rpartition("/")[2]
        elif isinstance(value, dict | list):
            yield from _references(value)


def _cleaned(schema: Any, schemas: dict[str, Any]) -> Any:
    """Return the schema without what no model shows, with the names that it has here, and with its enumerations."""
    if isinstance(schema, list):
        return [_cleaned(each, schemas) for each in schema]
    if not isinstance(schema, dict):
        return schema
    kept: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "properties":
            kept[key] = {name: _cleaned(each, schemas) for name, each in value.items()}
        elif key == "required":  # an older server may lack what may be null
            kept[key] = [name for name in value if {"type": "null"} not in schema["properties"][name].get("anyOf", ())]
        elif key == "$ref":
            name = value.rpartition("/")[2]
            if "enum" in schemas[name]:  # a newer server may have values that are not known here
                kept["anyOf"] = [{"enum": schemas[name]["enum"]}, {"type": "string"}]
            else:
                kept[key] = f"#/$defs/{SCHEMAS.get(name, name)}"
        elif key not in ("title", "examples"):
            kept[key] = _cleaned(value, schemas)
    return kept


def _format(path: Path) -> None:
    config = str(HERE.parent / "pyproject.toml")
    for action in (["check", "--fix-only", "--select", "I"], ["format"]):
        subprocess.run([sys.executable, "-m", "ruff", *action, "--config", config, "--quiet", str(path)], check=True)


def _is(path: Path, text: str) -> bool:
    return path.exists() and path.read_text(encoding="utf-8") == text


if __name__ == "__main__":
    sys.exit(main())

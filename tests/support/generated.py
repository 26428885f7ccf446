"""Code generated from the OpenAPI document, and answers of the API to try it on."""

import importlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest

Document = dict[str, Any]
# As the README of each generator says; a field that the document does not have is an error.
CLIENT = ["openapi_python_client", "generate", "--meta", "none", "--fail-on-warning"]
MODELS = ["datamodel_code_generator", "--input-file-type", "openapi", "--output-model-type", "pydantic_v2.BaseModel"]
STRICT = ["--extra-fields", "forbid", "--formatters", "builtin", "--disable-timestamp"]


@contextmanager
def client_package(document: Path) -> Iterator[ModuleType]:
    """openapi-python-client's package, importable as `generated_client`."""
    config = document.with_name("client-config.json")
    config.write_text(json.dumps({"post_hooks": []}), encoding="utf-8")  # no formatting: nobody reads the code
    package = document.with_name("generated_client")
    _run(*CLIENT, "--path", str(document), "--config", str(config), "--output-path", str(package))
    with _importable(package) as module:
        yield module


@contextmanager
def models_module(document: Path) -> Iterator[ModuleType]:
    """datamodel-code-generator's pydantic models, importable as `generated_models`."""
    file = document.with_name("generated_models.py")
    _run(*MODELS, *STRICT, "--input", str(document), "--output", str(file))
    with _importable(file) as module:
        yield module


def _run(*module: str) -> None:
    command = [sys.executable, "-W", "error::UserWarning", "-m", *module]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@contextmanager
def _importable(path: Path) -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(path.parent))
        yield importlib.import_module(path.stem)
        for name in [each for each in sys.modules if each.split(".")[0] == path.stem]:
            patch.delitem(sys.modules, name)


@dataclass(frozen=True)
class Answer:
    """One answer, with the operation of the document that it belongs to; None where the document has none."""

    method: str
    path: str
    operation: dict[str, Any] | None
    status: int
    media_type: str
    text: str

    @property
    def schema(self) -> dict[str, Any] | None:
        """The declared schema of the body; None where no body is declared."""
        if self.operation is None:
            return {"$ref": "#/components/schemas/Problem"}
        content = self.operation["responses"][str(self.status)].get("content")
        return None if content is None else dict((content.get(self.media_type) or content["*/*"])["schema"])


class Recorder:
    """Notes each answer that a client gets, as an event hook of httpx."""

    def __init__(self, document: Document) -> None:
        self.answers: list[Answer] = []
        fixed_first = sorted(document["paths"].items(), key=lambda item: item[0].count("{"))
        self._paths = [(re.compile(re.sub(r"\{\w+\}", "[^/]+", path)), methods) for path, methods in fixed_first]

    def __call__(self, response: httpx.Response) -> None:
        response.read()
        method, path = response.request.method.lower(), response.request.url.path
        methods = next((methods for pattern, methods in self._paths if pattern.fullmatch(path)), {})
        media_type = response.headers.get("content-type", "").split(";")[0]
        answer = Answer(method, path, methods.get(method), response.status_code, media_type, response.text)
        self.answers.append(answer)

    def codes(self) -> set[str]:
        """The `code` of each problem."""
        return {json.loads(each.text)["code"] for each in self.answers if each.status >= 400}

    def successes(self) -> set[str]:
        """The ids of the operations that succeeded at least once."""
        return {each.operation["operationId"] for each in self.answers if each.operation and each.status < 300}

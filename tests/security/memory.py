"""Small files that take much memory of the worker that reads them. It cannot be seen from outside; how they end can."""

import csv
import gzip
import io
import json
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

from tests.security.registry import RESOURCES, check, expect, expect_status
from tests.security.target import Target

TASKS = "app.tasks.common_tasks"
MODELS = "app.tasks.model_tasks"
SECONDS = 25.0
TRAINING_SECONDS = 45.0  # whose packages take long to import
ENDED = ("succeeded", "failed", "revoked")


@check(RESOURCES)
def wide_tables_of_few_bytes(target: Target) -> None:
    """A table of 62 KB with 40 million empty cells, and lines of JSON with a name each, are refused in a sentence"""
    header = ",".join(f"c{number}" for number in range(4000))
    cells = gzip.compress(f"{header}\n".encode() + (b"," * 3999 + b"\n") * 10_000)
    names = b"".join(b'{"k%d":1}\n' % number for number in range(8000))
    if not _is_served(target, f"{TASKS}.transform_data"):
        return
    with _file(target, "cells.csv.gz", cells) as one, _file(target, "names.jsonl", names) as other:
        begun = {
            "40 million cells": _begin(target, f"{TASKS}.transform_data", file=one),
            "8,000 names": _begin(target, f"{TASKS}.profile_data", file=other),
        }
        for what, task_id in begun.items():
            _expect_refused(what, _end(target, task_id), "UnusableData")


@check(RESOURCES)
def models_of_many_values(target: Target) -> None:
    """A model whose description has millions of values is refused before it is parsed"""
    if not _is_served(target, f"{MODELS}.train_model"):
        return
    text = io.StringIO()
    csv.writer(text).writerows([("a", "t"), *((number, "yn"[number % 2]) for number in range(40))])
    with _file(target, "table.csv", text.getvalue().encode()) as table:
        training = _begin(target, f"{MODELS}.train_model", file=table, target="t", model="linear", folds=2)
        trained = _end(target, training, TRAINING_SECONDS)
        expect(
            trained["status"] == "succeeded", f"a small model is not trained: {trained['status']} {trained['error']}"
        )
        answer = target.as_mallory("GET", f"/files/{trained['result']['model']}/content", follow_redirects=True)
        expect_status(answer, HTTPStatus.OK)
        with _file(target, "model.skops", _with_values(answer.content)) as model:
            done = _end(target, _begin(target, f"{MODELS}.predict", file=table, model=model))
            _expect_refused("14 MiB of {}", done, "UnusableModel")
            expect("more values" in done["error"]["message"], f"14 MiB of {{}}: {done['error']['message']}")


def _with_values(content: bytes) -> bytes:
    """Return the model with another description: 14 MiB of empty objects, which are 17 KB compressed."""
    changed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as model, zipfile.ZipFile(changed, "w", zipfile.ZIP_DEFLATED) as copy:
        copy.writestr("model.json", model.read("model.json"))
        protocol = json.loads(model.read("schema.json"))["protocol"]
        copy.writestr("schema.json", b'{"protocol":%d,"x":[' % protocol + b"{}," * (14 * 2**20 // 3) + b"{}]}")
    return changed.getvalue()


def _is_served(target: Target, name: str) -> bool:
    """Whether the server has this task, which needs packages beyond the service's own."""
    types = expect_status(target.as_mallory("GET", "/tasks/types"), HTTPStatus.OK).json()
    return any(each["celery_task_name"] == name for each in types)


@contextmanager
def _file(target: Target, name: str, content: bytes) -> Iterator[str]:
    """Upload a file; it is deleted at the end."""
    answer = expect_status(target.as_mallory("POST", "/files/", files={"file": (name, content)}), HTTPStatus.CREATED)
    file_id = str(answer.json()["id"])
    try:
        yield file_id
    finally:
        target.as_mallory("DELETE", f"/files/{file_id}")


def _begin(target: Target, name: str, /, **kwargs: Any) -> str:
    answer = target.new_task(celery_task_name=name, args=[], kwargs=kwargs, run_at=None)
    return str(expect_status(answer, HTTPStatus.CREATED).json()["id"])


def _end(target: Target, task_id: str, seconds: float = SECONDS) -> dict[str, Any]:
    """Return the task once it has ended; raises CheckFailed where it takes too long. Then it is cancelled."""
    until = time.monotonic() + seconds
    while True:
        task: dict[str, Any] = target.as_mallory("GET", f"/tasks/{task_id}", params={"wait": 5}).json()
        if task["status"] in ENDED:
            return task
        if time.monotonic() > until:
            target.as_mallory("POST", f"/tasks/{task_id}/cancel")
            expect(False, f"{task['celery_task_name']} is {task['status']} after {seconds:.0f} s")


def _expect_refused(what: str, task: dict[str, Any], error: str) -> None:
    ended = task["status"], (task["error"] or {}).get("type", "").rpartition(".")[2], task["attempt"]
    expect(ended == ("failed", error, 1), f"{what}: {ended} {task['error']}")

"""Small files that take much memory of the worker that reads them. It cannot be seen from outside; how they end can."""

import csv
import gzip
import io
import json
import zipfile
from http import HTTPStatus
from typing import Any

from tests.security.bodies import ENDED, are_run, begin, cancel, read, uploaded, waited
from tests.security.registry import RESOURCES, check, expect, expect_status
from tests.security.target import Target

TASKS = "app.tasks.common_tasks"
MODELS = "app.tasks.model_tasks"
SECONDS = 25.0
TRAINING_SECONDS = 45.0  # whose packages take long to import


@check(RESOURCES)
def wide_tables_of_few_bytes(target: Target) -> None:
    """A table of 62 KB with 40 million empty cells, and lines of JSON with a name each, are refused in a sentence"""
    header = ",".join(f"c{number}" for number in range(4000))
    cells = gzip.compress(f"{header}\n".encode() + (b"," * 3999 + b"\n") * 10_000)
    names = b"".join(b'{"k%d":1}\n' % number for number in range(8000))
    if not _is_served(target, f"{TASKS}.transform_data"):
        return
    with (
        uploaded(target, target.mallory, "cells.csv.gz", cells) as one,
        uploaded(target, target.mallory, "names.jsonl", names) as other,
    ):
        begun = {
            "40 million cells": begin(target, target.mallory, f"{TASKS}.transform_data", file=one),
            "8,000 names": begin(target, target.mallory, f"{TASKS}.profile_data", file=other),
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
    with uploaded(target, target.mallory, "table.csv", text.getvalue().encode()) as table:
        training = begin(
            target, target.mallory, f"{MODELS}.train_model", file=table, target="t", model="linear", folds=2
        )
        trained = _end(target, training, TRAINING_SECONDS)
        expect(
            trained["status"] == "succeeded", f"a small model is not trained: {trained['status']} {trained['error']}"
        )
        answer = target.as_mallory("GET", f"/files/{trained['result']['model']}/content", follow_redirects=True)
        expect_status(answer, HTTPStatus.OK)
        with uploaded(target, target.mallory, "model.skops", _with_values(answer.content)) as model:
            done = _end(target, begin(target, target.mallory, f"{MODELS}.predict", file=table, model=model))
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


def _end(target: Target, task_id: str, seconds: float = SECONDS) -> dict[str, Any]:
    """Return the task once it has ended; raises CheckFailed where it takes too long. Then it is cancelled."""
    task: dict[str, Any] = {}

    def has_ended() -> bool:
        task.update(read(target, target.mallory, task_id))
        return task["status"] in ENDED

    if not waited(has_ended, seconds):
        cancel(target, target.mallory, [task_id])
        expect(False, f"{task['celery_task_name']} is {task['status']} after {seconds:.0f} s")
    return task


def _expect_refused(what: str, task: dict[str, Any], error: str) -> None:
    ended = task["status"], (task["error"] or {}).get("type", "").rpartition(".")[2], task["attempt"]
    expect(ended == ("failed", error, 1), f"{what}: {ended} {task['error']}")


def _is_served(target: Target, name: str) -> bool:
    """Say whether the server has this task, which needs packages beyond the service's own, and a worker."""
    types = expect_status(target.as_mallory("GET", "/tasks/types"), HTTPStatus.OK).json()
    return any(each["celery_task_name"] == name for each in types) and are_run(target)

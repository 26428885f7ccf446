"""A Celery canvas as the tasks of a workflow: what waits for what, and what is put before its arguments."""

from datetime import UTC, datetime
from typing import Any

import pytest
from celery import Celery, chain, chord, group

from app.workflows.canvas import UnusableCanvas, write

app = Celery("canvas", broker="memory://", set_as_current=False)


@app.task(name="m.add")
def add(x: int, y: int = 0) -> int:
    return x + y


@app.task(name="m.tot")
def tot(xs: list[int]) -> int:
    return sum(xs)


def result(number: int, name: str = "add") -> dict[str, str]:
    return {"$result": f"{number}-{name}"}


def written(canvas: Any) -> list[tuple[list[Any], list[str]]]:
    """The arguments of each task, and the numbers of what it waits for."""
    found = []
    for at, task in enumerate(write(canvas, {"task_type": "t"}).tasks, 1):
        assert task["ref"].startswith(f"{at}-")
        assert (task["task_type"], task["name"]) == ("t", task["celery_task_name"])
        found.append((task["args"], [ref.partition("-")[0] for ref in task.get("depends_on", [])]))
    return found


@pytest.mark.parametrize(
    ("name", "canvas", "expected"),
    [
        ("a task", add.s(1, 2), [([1, 2], [])]),
        ("a chain", chain(add.s(1), add.s(2)), [([1], []), ([result(1), 2], ["1"])]),
        ("with an immutable signature", chain(add.s(1), add.si(2)), [([1], []), ([2], ["1"])]),
        ("a group", group(add.s(1), add.s(2)), [([1], []), ([2], [])]),
        ("a group in a group", group(add.s(1), group(add.s(2), add.s(3))), [([1], []), ([2], []), ([3], [])]),
        (
            "a chord",
            chord([add.s(1), add.s(2)], tot.s()),
            [([1], []), ([2], []), ([[result(1), result(2)]], ["1", "2"])],
        ),
        ("a chord of one", chord([add.s(1)], add.s(2)), [([1], []), ([[result(1)], 2], ["1"])]),
        ("a group of one in a chain", chain(add.s(1), group(add.s(2))), [([1], []), ([result(1), 2], ["1"])]),
        (
            "a group in a chain",
            chain(add.s(1), group(add.s(2), add.s(3)), tot.s()),
            [([1], []), ([result(1), 2], ["1"]), ([result(1), 3], ["1"]), ([[result(2), result(3)]], ["2", "3"])],
        ),
        ("a map", add.map([1, 2]), [([1], []), ([2], [])]),
        ("a starmap", add.starmap([(1, 2), (3, 4)]), [([1, 2], []), ([3, 4], [])]),
        ("chunks", add.chunks([(1, 2), (3, 4), (5, 6)], 2), [([1, 2], []), ([3, 4], []), ([5, 6], [])]),
        ("a callback", add.s(1).set(link=[add.s(2)]), [([1], []), ([result(1), 2], ["1"])]),
        ("data that looks like a reference", add.s({"$result": "x"}), [([{"$literal": {"$result": "x"}}], [])]),
    ],
)
def test_is_written_as(name: str, canvas: Any, expected: list[tuple[list[Any], list[str]]]) -> None:
    assert written(canvas) == expected, name
    assert written(dict(canvas)) == expected, name


def test_carries_options_over() -> None:
    moment = datetime(2030, 1, 1, tzinfo=UTC)
    (task,) = write(add.s(1).set(countdown=5, expires=moment, time_limit=9), {"task_type": "t"}).tasks
    assert (task["delay_seconds"], task["expires_at"], task["timeout_seconds"]) == (5, moment.isoformat(), 9)


@pytest.mark.parametrize(
    ("canvas", "told"),
    [
        (add.s(1).set(link_error=add.s(2)), "m.add has the option link_error"),
        (group(add.s(1)).set(queue="q"), "celery.group has the option queue"),
        (add.s(1).set(queue="q"), "name the queue in the decorator"),
        (chain(add.s(1), add.s(2).set(countdown=3)), "countdown, which a workflow does not have: it counts from"),
        (add.s(1).set(expires=60), "expires, which a workflow does not have: write a time"),
        (group(), "an empty group"),
        (chord([add.s(1)], add.s(2)).clone(args=(7,)), "celery.chord has arguments of its own"),
        (7, "int is no canvas"),
    ],
)
def test_refuses_by_name(canvas: Any, told: str) -> None:
    with pytest.raises(UnusableCanvas) as refused:
        write(canvas, {"task_type": "t"})
    assert told in str(refused.value)

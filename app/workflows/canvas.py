"""A Celery canvas as the tasks of a workflow: each gets its parents' results as Celery would prepend them.

https://docs.celeryq.dev/en/stable/userguide/canvas.html. What a workflow cannot do is refused by its name, with what to
write instead.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from celery.canvas import Signature, _chain, _chord, group

from app.workflows.references import LITERAL, RESULT, holds_any

# Options of a signature that are fields of a task; `countdown` and `eta` of a task that waits for no other alone.
_FIELDS = {"time_limit": "timeout_seconds", "countdown": "delay_seconds", "eta": "run_at", "expires": "expires_at"}
_TIMES = ("countdown", "eta")
# What Celery writes into a signature by itself, and what changes nothing: every result is kept.
_IGNORED = frozenset({
    "task_id", "reply_to", "root_id", "parent_id", "group_id", "group_index", "chord", "link", "ignore_result",
    "replaced_task_nesting", "stamped_headers", "visitor",
})  # fmt: skip
# Those of Celery's own tasks that call another one for each item, and whether with the item's parts.
_MAPS = {"celery.map": False, "celery.starmap": True}
_INSTEAD = {
    "link_error": "subscribe a webhook to workflow.failed, or let a task run on with on_failure='continue'",
    "queue": "name the queue in the decorator of the task, or send a priority",
    "priority": "give the tasks a priority: create_from_canvas(…, priority='high')",
    "routing_key": "name the queue in the decorator of the task",
    "exchange": "name the queue in the decorator of the task",
    "soft_time_limit": "set it in the decorator of the task",
    "retry": "the task is in the database before it is sent: leave it out",
    "retry_policy": "the task is in the database before it is sent: leave it out",
    "serializer": "arguments are JSON: leave it out",
    "headers": "write what they say to the arguments or the metadata",
    "shadow": "give the task a name of its own",
}


class UnusableCanvas(ValueError):
    """What a workflow cannot carry over. The text names it, and says what to write instead."""


class _Flow(NamedTuple):
    """What a part of the canvas passes on: its result, with references, and the refs of the tasks that it is of."""

    value: Any
    refs: tuple[str, ...]


class Written(NamedTuple):
    """The tasks of a workflow, as `WorkflowCreate` takes them, and the result of the canvas as references to theirs."""

    tasks: list[dict[str, Any]]
    result: Any


def write(canvas: Any, fields: Mapping[str, Any]) -> Written:
    """Return the workflow that does what the canvas does.

    `fields` are of each task: those of TaskCreate but its name and arguments. Raises UnusableCanvas.
    """
    if not isinstance(canvas, Signature):
        if not isinstance(canvas, Mapping) or "task" not in canvas:
            raise UnusableCanvas(f"{type(canvas).__name__} is no canvas: pass a signature, a chain, a group or a chord")
        canvas = Signature.from_dict(dict(canvas))
    writer = _Writer(fields)
    flow = writer.add(canvas, None)
    return Written(writer.tasks, flow.value)


class _Writer:
    def __init__(self, fields: Mapping[str, Any]) -> None:
        self._fields = fields
        self.tasks: list[dict[str, Any]] = []

    def add(self, canvas: Any, before: _Flow | None) -> _Flow:
        """Add the tasks of this part, which comes after `before`."""
        if _is_whole(canvas):
            self._refuse_options(canvas)
            if canvas.args:
                raise UnusableCanvas(f"{canvas.task} has arguments of its own: give them to its first tasks")
        if isinstance(canvas, _chain):
            return self._sequence(canvas.tasks, before)
        if isinstance(canvas, _chord):
            return self.add(canvas.body, self._header(canvas, before))
        if isinstance(canvas, group):
            return self._group(canvas.tasks, before)
        if canvas.task == "celery.chunks":
            parts = _parts(canvas.kwargs["it"], canvas.kwargs["n"])
            return _together([self._each(canvas.kwargs["task"], part, before, star=True) for part in parts])
        if canvas.task in _MAPS:
            return self._each(canvas.kwargs["task"], canvas.kwargs["it"], before, star=_MAPS[canvas.task])
        return self._task(canvas, before)

    def _sequence(self, parts: Sequence[Any], before: _Flow | None) -> _Flow:
        """Put one after the other: here a group of one is its member, as in Celery."""
        if not parts:
            raise UnusableCanvas("an empty chain: leave it out")
        for at, each in enumerate(parts):
            part = each
            while isinstance(part, _chord) and at < len(parts) - 1:  # what follows is added to its body
                before, part = self._header(part, before), part.body
            while isinstance(part, group) and len(part.tasks) == 1:
                (part,) = part.tasks
            before = self.add(part, before)
        assert before is not None
        return before

    def _header(self, chord: Any, before: _Flow | None) -> _Flow:
        self._refuse_options(chord)
        if chord.body is None:
            raise UnusableCanvas("a chord without a body: write a group")
        return self._group(chord.tasks.tasks if isinstance(chord.tasks, group) else chord.tasks, before)

    def _group(self, parts: Sequence[Any], before: _Flow | None) -> _Flow:
        """Put them side by side; a group in a group is flattened, as in Celery."""
        members = [*_flattened(parts)]
        if not members:
            raise UnusableCanvas("an empty group: leave it out")
        return _together([self.add(member, before) for member in members])

    def _each(self, task: Any, items: Iterable[Any], before: _Flow | None, *, star: bool) -> _Flow:
        """Return a task for each item of `map` and `starmap`, which Celery runs one by one in one task."""
        signature = task if isinstance(task, Signature) else Signature.from_dict(dict(task))
        found = [signature.clone(args=tuple(item) if star else (item,)) for item in items]
        if not found:
            raise UnusableCanvas("a map over nothing: leave it out")
        return _together([self._task(each.set(immutable=True), before) for each in found])

    def _task(self, signature: Any, before: _Flow | None) -> _Flow:
        name = str(signature.task)
        ref = f"{len(self.tasks) + 1}-{name.rpartition('.')[2]}"[:64]
        args = [_as_data(each) for each in signature.args]
        kwargs = {parameter: _as_data(value) for parameter, value in signature.kwargs.items()}
        if before is not None and not signature.immutable:
            args.insert(0, before.value)
        task = {"ref": ref, "name": name, "celery_task_name": name, **self._fields, "args": args, "kwargs": kwargs}
        task |= self._options(signature, has_parents=before is not None)
        if before is not None:
            task["depends_on"] = list(before.refs)
        self.tasks.append(task)
        flow = _Flow({RESULT: ref}, (ref,))
        for callback in _several(signature.options.get("link")):
            self.add(callback if isinstance(callback, Signature) else Signature.from_dict(dict(callback)), flow)
        return flow

    def _options(self, signature: Any, *, has_parents: bool) -> dict[str, Any]:
        self._refuse_options(signature)
        found = {}
        for option, value in signature.options.items():
            if option not in _FIELDS or value is None:
                continue
            if has_parents and option in _TIMES:
                raise _unusable(signature, option, "it counts from the creation: set it for the first tasks alone")
            if option == "expires" and not isinstance(value, datetime | str):
                raise _unusable(signature, option, "write a time, such as datetime.now(UTC) + timedelta(hours=1)")
            found[_FIELDS[option]] = value.isoformat() if isinstance(value, datetime) else value
        return found

    def _refuse_options(self, signature: Any) -> None:
        known = _IGNORED | (_FIELDS.keys() if not _is_whole(signature) else set())
        for option, value in signature.options.items():
            if option not in known and value not in (None, [], {}, ()):
                raise _unusable(signature, option, _INSTEAD.get(option, "leave it out"))


def _is_whole(canvas: Any) -> bool:
    """Return whether it is no task by itself."""
    return isinstance(canvas, _chain | group | _chord) or canvas.task in {*_MAPS, "celery.chunks"}


def _unusable(signature: Any, option: str, instead: str) -> UnusableCanvas:
    return UnusableCanvas(f"{signature.task} has the option {option}, which a workflow does not have: {instead}")


def _flattened(parts: Iterable[Any]) -> Iterator[Any]:
    for part in parts:
        if isinstance(part, group):
            yield from _flattened(part.tasks)
        else:
            yield part


def _together(flows: Sequence[_Flow]) -> _Flow:
    return _Flow([flow.value for flow in flows], tuple(dict.fromkeys(ref for flow in flows for ref in flow.refs)))


def _as_data(value: Any) -> Any:
    """Return an argument of the canvas, in which nothing is a reference."""
    return {LITERAL: value} if holds_any(value) else value


def _parts(items: Iterable[Any], size: int) -> list[list[Any]]:
    found = list(items)
    return [found[at : at + size] for at in range(0, len(found), size)]


def _several(value: Any) -> list[Any]:
    return [] if not value else list(value) if isinstance(value, list | tuple) else [value]

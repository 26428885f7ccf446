"""What a client that may write to the broker could put there: queue items, control commands, leftovers of acks.

`COMMANDS` and the kinds of `TASK_ITEMS` are {what it is: how to make it}. An item is made for a ledger:
had a worker run it, a line would stand there.
"""

import base64
import json
import pickle
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

from app.messaging.guard.messages import WAKEUP

NOTE_DOWN = "tests.note_down"
JSON = "application/json"
QUEUE = "default"
Make = Callable[[Path], bytes]
# The most digits that Python reads: one more than this number has cannot be written again.
HUGE = 10**4300 - 1


class Touch:
    """Unpickled, it appends a line to the ledger."""

    def __init__(self, ledger: Path) -> None:
        self.ledger = ledger

    def __reduce__(self) -> Any:
        return exec, (f"open({str(self.ledger)!r}, 'a').write('pickle ran\\n')",)


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


def envelope(body: Any, headers: Any = None) -> dict[str, Any]:
    """A task message as kombu writes it to Redis. `body` in bytes stays as it is."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    celery_id = str(uuid4())
    return {
        "body": base64.b64encode(raw).decode(),
        "content-encoding": "utf-8",
        "content-type": JSON,
        "headers": {"lang": "py", "task": NOTE_DOWN, "id": celery_id, "root_id": celery_id, **(headers or {})},
        "properties": {
            "correlation_id": celery_id,
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": QUEUE},
            "priority": 6,
            "body_encoding": "base64",
            "delivery_tag": str(uuid4()),
        },
    }


def call(ledger: Path, embed: Any = None) -> list[Any]:
    """The body of a good message, which notes down that it ran."""
    return [[str(ledger), "a hostile item ran"], {}, embed or {}]


def edited(edit: Callable[[dict[str, Any]], object]) -> Make:
    """A good message after this edit."""

    def make(ledger: Path) -> bytes:
        message = envelope(call(ledger))
        edit(message)
        return json.dumps(message).encode()

    return make


def without(name: str, part: str = "") -> Make:
    return edited(lambda message: (message[part] if part else message).pop(name))


def having(name: str, value: Any, part: str = "") -> Make:
    return edited(lambda message: (message[part] if part else message).update({name: value}))


def with_header(name: str, value: Any) -> Make:
    return having(name, value, "headers")


def with_body(body: Any, **headers: Any) -> Make:
    return lambda _: json.dumps(envelope(body, headers)).encode()


def with_embed(**embed: Any) -> Make:
    return lambda ledger: json.dumps(envelope(call(ledger, embed))).encode()


def wakeup(body: Any = ([], {}, {}), **headers: Any) -> bytes:
    """A wake-up for the processes of a worker."""
    return json.dumps(envelope(body, {"task": WAKEUP, **headers})).encode()


def typed(content_type: str, body: Callable[[Path], bytes]) -> Make:
    return lambda ledger: json.dumps(envelope(body(ledger)) | {"content-type": content_type}).encode()


def command_body(body: Any, headers: Any = None) -> bytes:
    message = envelope(body)
    message["headers"] = headers or {}
    return json.dumps(message).encode()


def built_in(name: str, args: list[Any], kwargs: dict[str, Any] | None = None) -> Make:
    return lambda _: json.dumps(envelope([args, kwargs or {}, {}], {"task": name})).encode()


def compressed(ledger: Path) -> bytes:
    bomb = zlib.compress(b"[" + b" " * (300 * 1024 * 1024) + b"]", 9)
    return json.dumps(envelope(bomb, {"compression": "application/x-gzip"})).encode()


def echo_signature(ledger: Path) -> dict[str, Any]:
    return {"task": NOTE_DOWN, "args": [str(ledger), "a callback ran"], "kwargs": {}, "options": {"queue": QUEUE}}


RAW: dict[str, Make] = {
    "no JSON": lambda _: b"this is no JSON",
    "nothing": lambda _: b"",
    "half of a message": lambda ledger: json.dumps(envelope(call(ledger))).encode()[:-40],
    "bytes": lambda _: bytes(range(256)),
    "invalid UTF-8": lambda ledger: json.dumps(envelope(call(ledger))).encode().replace(b'"py"', b'"\xff\xfe"'),
    "a number": lambda _: b"1",
    "a list": lambda _: b"[]",
    "null": lambda _: b"null",
    "a string": lambda _: b'"text"',
    "an empty object": lambda _: b"{}",
    "a pickle": lambda ledger: pickle.dumps(Touch(ledger)),
    "nested 100,000 deep": lambda _: nested(100_000).encode(),
    "10 MB": lambda _: b"x" * 10_000_000,
    "10 MB of JSON": lambda _: b'"' + b"x" * 10_000_000 + b'"',
    "a number of 5,000 digits": lambda _: b"9" * 5000,
}
ENVELOPES: dict[str, Make] = {
    **{f"no {name}": without(name) for name in ("body", "headers", "properties", "content-type")},
    **{
        f"{name} is {value!r}": having(name, value)
        for name, value in (
            ("properties", None), ("properties", []), ("properties", 1), ("properties", "x"),
            ("headers", None), ("headers", []), ("headers", [1]), ("headers", 1), ("headers", "x"),
            ("body", None), ("body", 1), ("body", []), ("body", {}), ("body", "%%%"), ("body", "a"), ("body", "é"),
            ("content-type", 1), ("content-type", []), ("content-type", {}), ("content-encoding", 1),
            ("content-encoding", "no-such"),
        )
    },
    **{
        f"{name} is {value!r}": having(name, value, "properties")
        for name, value in (
            ("body_encoding", "rot13"), ("body_encoding", 1), ("body_encoding", []), ("body_encoding", "utf-8"),
            ("delivery_tag", None), ("delivery_tag", 1), ("delivery_tag", []), ("delivery_tag", {}),
            ("delivery_info", None), ("delivery_info", 1), ("delivery_info", []), ("delivery_info", "x"),
            ("delivery_info", {"exchange": [], "routing_key": {}}),
            ("priority", "x"), ("priority", []), ("priority", -1), ("priority", 1000), ("correlation_id", []),
            ("reply_to", {}), ("delivery_info", {"exchange": "", "routing_key": QUEUE, "redelivered": [1]}),
        )
    },
    **{
        f"a long {name}": having(name, "x" * 1000, "properties") for name in ("delivery_tag", "correlation_id", "reply_to")
    },
    "a priority of 4,300 digits": having("priority", HUGE, "properties"),
    "a clock of 4,300 digits": having("clock", HUGE, "headers"),
    "a negative clock": having("clock", -1, "headers"),
    **{f"no {name}": without(name, "properties") for name in ("delivery_tag", "delivery_info", "body_encoding")},
}  # fmt: skip
BODIES: dict[str, Make] = {
    **{
        f"the body is {body!r}": with_body(body)
        for body in (1, None, "x", {}, [], [1], [1, 2], [1, 2, 3], [[], [], []], [[], {}, []], [{}, {}, {}], [[], {}, {}, {}])
    },
    "the body is no JSON": with_body(b"[[], {}, {"),
    "the body is no UTF-8": with_body(b'["\xff"]'),
    "args nested 100,000 deep": with_body(f"[{nested(100_000)}, {{}}, {{}}]".encode()),
    "args nested 600 deep": with_body(f"[{nested(600)}, {{}}, {{}}]".encode()),
    "args hold a number of 5,000 digits": with_body(f"[[{'9' * 5000}], {{}}, {{}}]".encode()),
    "a protocol 1 message": lambda ledger: command_body({"task": NOTE_DOWN, "id": "x", "args": call(ledger)[0], "kwargs": {}}),
    "a hybrid message": with_body({"args": 1, "kwargs": 2}),
    "pickle": typed("application/x-python-serialize", lambda ledger: pickle.dumps(Touch(ledger))),
    "pickle said to be JSON": typed(JSON, lambda ledger: pickle.dumps(Touch(ledger))),
    "application/data": typed("application/data", lambda ledger: json.dumps(call(ledger)).encode()),
    "yaml": typed("application/x-yaml", lambda ledger: f"[['{ledger}', yaml], {{}}, {{}}]".encode()),
    "msgpack": typed("application/x-msgpack", lambda _: b"\x93\x90\x80\x80"),
    "text": typed("text/plain", lambda ledger: json.dumps(call(ledger)).encode()),
    "no content type": having("content-type", None),
    "a bomb of 300 MB in 300 KB": compressed,
    "an unknown compression": with_header("compression", "no-such"),
    "a compression that is none": with_header("compression", {"x": 1}),
}  # fmt: skip
TYPES: dict[str, Make] = {
    f"__type__ {kind!r} of {value!r}": with_header("task_note", {"__type__": kind, "__value__": value})
    for kind, value in (
        ("uuid", 1), ("uuid", {"bytes": 1}), ("uuid", {"int": "x"}), ("datetime", "x"), ("datetime", 1), ("date", []),
        ("time", None), ("decimal", "x"), ("decimal", {}), ("bytes", 1), ("base64", None),
        ("no-such", 1), ([], 1), ({}, 1), (None, 1),
    )
}  # fmt: skip
HEADERS: dict[str, Make] = {
    **{f"no header {name}": without(name, "headers") for name in ("task", "id")},
    **{
        f"{name} is {value!r}"[:60]: with_header(name, value)
        for name, value in (
            ("task", None), ("task", 1), ("task", []), ("task", {}), ("task", "tests.no_such"), ("task", ""),
            ("task", "os.system"), ("task", "tests.note_down\nforged line"),
            ("id", None), ("id", 1), ("id", []), ("id", {}), ("id", "x\nforged line"), ("id", "x" * 10_000),
            ("id", "\ud800"), ("shadow", []), ("shadow", "x\nforged line"), ("shadow", 1), ("shadow", "x" * 10_000),
            ("eta", 1), ("eta", []), ("eta", "x"), ("eta", {}), ("eta", "9999-99-99"), ("eta", "-1"),
            ("expires", 1), ("expires", []), ("expires", "x"), ("expires", {}),
            ("retries", "x"), ("retries", []), ("retries", -1), ("retries", None),
            ("timelimit", 1), ("timelimit", "x"), ("timelimit", [1]), ("timelimit", ["x", "y"]), ("timelimit", {}),
            ("timelimit", [[], {}]), ("timelimit", [None, None, None]), ("timelimit", [-1, -1]), ("timelimit", [1e308, 1e400]),
            ("group", []), ("group", 1), ("group_index", "x"), ("root_id", []), ("parent_id", {}), ("origin", []),
            ("argsrepr", []), ("kwargsrepr", 1), ("ignore_result", "x"), ("replaced_task_nesting", "x"),
            ("stamped_headers", 1), ("stamps", []), ("delivery_info", 1), ("hostname", {}), ("args", "x"),
            ("callbacks", [1]), ("errbacks", "x"), ("chain", 1), ("chord", 1), ("reply_to", 1), ("lang", []),
            ("meth", 1), ("properties", 1), ("called_directly", True), ("is_eager", True),
        )
    },
    **{
        f"{name} is {value!r}"[:60]: with_embed(**{name: value})
        for name in ("callbacks", "errbacks", "chain", "chord")
        for value in (1, "x", [1], [[]], {"task": 1}, [{"task": []}])
    },
    **{
        f"{name} has 4,300 digits": with_header(name, HUGE)
        for name in ("retries", "group_index", "timelimit", "task_note", "x")
    },
    **{f"{name} is of the year {year}": with_header(name, f"{year}-01-01T00:00:00+14:00") for name in ("eta", "expires") for year in ("0001", "9999")},
    "numbers in a header": with_header("x", {"a": [HUGE]}),
    "a header nested 700 deep": with_header("x", json.loads(nested(700))),
    "stamps nested 700 deep": with_header("stamps", {"x": json.loads(nested(700))}),
    "an embed that is unknown": with_embed(unknown=1),
    "a record, which no message names": with_header("task_record", "019a1f3c-7b1e-7c3a-9f57-3b1f4a0c2d11"),
    "a wake-up with a time limit": lambda ledger: wakeup([[], {}, {}], timelimit=[0.1, 0.1]),
    "a wake-up with arguments": lambda ledger: wakeup([[str(ledger)], {}, {}]),
    **{
        f"a wake-up with the header {name}": lambda ledger, name=name, value=value: wakeup(**{name: value})
        for name, value in (
            ("eta", "2100-01-01T00:00:00"), ("expires", "2020-01-01T00:00:00"), ("group", "x"), ("shadow", "another name"),
        )
    },
    "a wake-up that something follows": lambda ledger: wakeup([[], {}, {"callbacks": [echo_signature(ledger)]}]),
}  # fmt: skip
BUILT_INS: dict[str, Make] = {
    "celery.chord_unlock": built_in("celery.chord_unlock", ["group", {"task": NOTE_DOWN}], {"result": []}),
    "celery.group": lambda ledger: built_in("celery.group", [[echo_signature(ledger)], ["id", []], "id", []])(ledger),
    "celery.chain": lambda ledger: built_in("celery.chain", [[echo_signature(ledger)]])(ledger),
    "celery.chord": lambda ledger: built_in("celery.chord", [[echo_signature(ledger)], echo_signature(ledger)])(ledger),
    "celery.backend_cleanup": built_in("celery.backend_cleanup", []),
    "celery.accumulate": built_in("celery.accumulate", [1, 2], {"index": "x"}),
    "celery.ping": built_in("celery.ping", []),
}
# What `task.map()` and its like send: allowed, so Celery runs it, and its task fails.
FAILING = {
    "celery.starmap": built_in("celery.starmap", [1, 2]),
    "celery.map": built_in("celery.map", [{"task": "os.system"}, ["true"]]),
    "celery.chunks": built_in("celery.chunks", ["x", 1, {}]),
}
# Plain messages of a task: it runs, as any Celery task would, and what is to follow it is refused by the child.
FOLLOWED: dict[str, Make] = {
    f"{name} is {value!r}"[:60]: with_embed(**{name: value})
    for name in ("callbacks", "errbacks", "chain")
    for value in (
        [{"task": "tests.no_such"}], [{"task": NOTE_DOWN, "args": 1, "options": "x"}],
        [{"task": NOTE_DOWN, "options": {"queue": [], "link": 1}}], [{"task": "celery.group", "kwargs": {"tasks": 1}}],
    )
}  # fmt: skip
TASK_ITEMS = {
    "raw": RAW, "envelopes": ENVELOPES, "bodies": BODIES, "types": TYPES, "headers": HEADERS, "built-ins": BUILT_INS,
}  # fmt: skip


def command(method: Any, arguments: Any = None, **more: Any) -> bytes:
    """A remote control command as kombu publishes it."""
    anywhere = {"destination": None, "pattern": None, "matcher": None}
    message = envelope({"method": method, "arguments": arguments or {}, **anywhere, **more})
    message["headers"] = {"clock": 1, "expires": 0}
    message["properties"]["delivery_info"] = {"exchange": "celery.pidbox", "routing_key": ""}
    return json.dumps(message).encode()


SLOW = r"(((\w+)+)+)+\Z(?<!.)"
COMMANDS: dict[str, bytes] = {
    **{f"raw: {name}": make(Path("/nowhere")) for name, make in RAW.items()},
    **{f"envelope: {name}": make(Path("/nowhere")) for name, make in ENVELOPES.items()},
    **{f"the body is {body!r}": command_body(body) for body in (1, None, "x", [], [1], {})},
    "a clock of 4,300 digits": command_body({"method": "ping", "arguments": {}}, {"clock": HUGE}),
    "a number of 4,300 digits": command("query_task", {"ids": [HUGE]}),
    "a long text": command("query_task", {"ids": ["x" * 1000]}),
    "arguments nested 50 deep": command("query_task", {"ids": json.loads(nested(50))}),
    "2,000 ids": command("query_task", {"ids": ["x" * 50] * 2000}),
    "a long ticket": command("ping", ticket="x" * 1000),
    "a clock that is none": command_body({"method": "ping"}, {"clock": "x"}),
    "a pickle": typed("application/x-python-serialize", lambda ledger: pickle.dumps(Touch(ledger)))(Path("/nowhere")),
    "no such method": command("no_such"),
    "a method that is none": command([]),
    "arguments that are none": command("ping", [1]),
    "unknown arguments": command("enable_events", {"x": 1}),
    "a destination that is none": command("ping", destination=5),
    "a slow pattern": command("ping", pattern=SLOW, matcher="pcre"),
    "a pattern that is none": command("ping", pattern=[], matcher=1),
    "a reply to nowhere": command("ping", reply_to={}, ticket=[]),
    "a reply into a queue": command("ping", reply_to={"exchange": "", "routing_key": QUEUE}, ticket="x"),
    "shutdown": command("shutdown"),
    "pool_restart": command("pool_restart", {"modules": ["os"], "reload": True}),
    "pool_shrink": command("pool_shrink", {"n": 10}),
    "cancel_consumer": command("cancel_consumer", {"queue": QUEUE}),
    "add_consumer": command("add_consumer", {"queue": "theirs"}),
    "rate_limit": command("rate_limit", {"task_name": "tests.echo", "rate_limit": "1/h"}),
    "time_limit": command("time_limit", {"task_name": "tests.echo", "hard": 0.001, "soft": 0.001}),
    "autoscale": command("autoscale", {"max": 0, "min": 0}),
    "revoke": command("revoke", {"task_id": ["x"], "terminate": True, "signal": "SIGKILL"}),
    "memdump": command("memdump", {"samples": 1}),
    "election": command("election", {"id": "x", "topic": "task", "action": {"task": NOTE_DOWN}}),
}


def leftovers() -> dict[str, bytes]:
    """Entries of the hash in which kombu keeps what is not acknowledged, old enough to be put back."""
    good = envelope([["x"], {}, {}])
    return {
        "no JSON": b"garbage",
        "no list": b"1",
        "a list of one": b"[1]",
        "no message": json.dumps([1, "", QUEUE]).encode(),
        "no exchange": json.dumps([good | {"headers": 1}, [], {}]).encode(),
        "nested": nested(100_000).encode(),
    }

"""What the example tasks return and report: JSON, what can be made JSON, and what cannot."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID


@dataclass
class Point:
    x: int
    at: datetime
    id: UUID


def _nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


RESULTS: dict[str, Any] = {
    "dataclass": Point(3, datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), UUID(int=7)),
    "exact": {"big": 10**30, "float": 1e22, "zero": -0.0, "tiny": 5e-324, "text": "数据 ✓ \0", "none": None},
    "nan": float("nan"),
    "infinity": [float("inf")],
    "object": object(),
    "surrogate": "\ud800",
    "surrogate_key": {"\udc00": 1},
    "deep": _nested(400),
    "deeper": _nested(5000),
    "huge_int": 10**5000,
    "set": {3},
    "int_keys": {1: "one"},
    "bytes": b"\xff",
}

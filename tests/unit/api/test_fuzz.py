"""Whatever a stranger sends, the parsers of bodies, cursors and conditions read it, or refuse it by the error they name."""

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from pydantic import ValidationError

from app.api.http.responses import check_if_match, etag, not_modified
from app.core import json_text
from app.core.json_text import dump_json, has_more_values
from app.db.listing import Listing
from app.errors import InvalidCursor, PreconditionFailed
from app.live.streams import cursor_of, moment_of, version_of
from app.schemas.task import TaskBatchCreate, TaskCreate
from app.schemas.task_changes import TaskPatch, TaskRetry
from app.services.audit import RECORDS
from app.services.operations.error_group_service import LISTS, ErrorSort
from app.services.tasks.task_history import STEPS
from app.services.tasks.task_queries import TASKS
from tests.support.properties import given, settings, st
from tests.support.tools import needs

pytestmark = needs("hypothesis")

EXAMPLES = [30, pytest.param(1000, marks=pytest.mark.full)]
PIECE = 7
TEXT = st.text(st.one_of(st.sampled_from('"\\,[]{}:0 \n\0é\ud800'), st.characters()), max_size=12)
SCALAR = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXT)
VALUE = st.recursive(
    SCALAR, lambda inner: st.one_of(st.lists(inner, max_size=5), st.dictionaries(TEXT, inner, max_size=5))
)
SEPARATORS = st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t:")])
HEADER = st.text(st.one_of(st.sampled_from('"W/*, \t0123456789'), st.characters(max_codepoint=255)), max_size=60)


def weight(value: Any) -> int:
    """The commas and opening brackets of the value's JSON."""
    if not isinstance(value, dict | list):
        return 0
    inner = value.values() if isinstance(value, dict) else value
    return 1 + max(len(value) - 1, 0) + sum(map(weight, inner))


def parsed(text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def fuzz(examples: int, check: Callable[..., None], *strategies: Any) -> None:
    settings(max_examples=examples)(given(*strategies)(check))()


@pytest.mark.parametrize("examples", EXAMPLES)
class TestNumberOfValues:
    @pytest.fixture(autouse=True)
    def _in_small_pieces(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(json_text, "_PIECE", PIECE)

    def test_is_exact_for_json(self, examples: int) -> None:
        def check(value: Any, separators: tuple[str, str], as_ascii: bool) -> None:
            written = json.dumps(value, separators=separators, ensure_ascii=as_ascii).encode("utf-8", "surrogatepass")
            assert has_more_values(written, weight(value))
            # A NUL cannot stand in the JSON text itself.
            assert not has_more_values(written, weight(value) + 1)

        fuzz(examples, check, VALUE, SEPARATORS, st.booleans())

    def test_is_never_too_small_for_what_can_be_parsed(self, examples: int) -> None:
        pieces = st.sampled_from([b'"', b"\\", b"\\\\", b'\\"', b",", b"[", b"]", b"{", b"}", b":", b"1", b" ", b"\0"])

        def check(parts: list[bytes], value: Any, encoding: str, cut: int) -> None:
            written = json.dumps(value).encode(encoding)
            for text in (b"".join(parts), written, written[:cut] + b"".join(parts) + written[cut:]):
                assert has_more_values(text, weight(parsed(text)))

        encodings = st.sampled_from(["utf-8", "utf-16", "utf-16-be", "utf-32"])
        fuzz(examples, check, st.lists(pieces, max_size=30), VALUE, encodings, st.integers(0, 200))


@pytest.mark.parametrize("examples", EXAMPLES)
@pytest.mark.parametrize("model", [TaskCreate, TaskBatchCreate, TaskPatch, TaskRetry])
def test_a_body_is_valid_or_refused_and_its_arguments_come_back(model: Any, examples: int) -> None:
    task = {"name": "x", "task_type": "x", "celery_task_name": "x"}

    def check(args: list[Any], other: dict[str, Any], field: str, value: Any) -> None:
        body = {**(task if model is TaskCreate else {}), "args": args, "metadata": other, field: value}
        for sent in (body, {"tasks": [body, value]}, value):
            with suppress(ValidationError):
                valid = model.model_validate(json.loads(json.dumps(sent)))
                if isinstance(valid, TaskCreate):
                    assert json.loads(dump_json(valid.args)) == valid.args

    fields = st.sampled_from([*TaskCreate.model_fields, *TaskPatch.model_fields, "tasks", "x"])
    fuzz(examples, check, st.lists(VALUE, max_size=4), st.dictionaries(TEXT, VALUE, max_size=4), fields, VALUE)


@pytest.mark.parametrize("examples", EXAMPLES)
class TestCursors:
    TEXTS = st.one_of(TEXT, st.text("0123456789abcdefABCDEF-.", max_size=70), st.uuids().map(str))

    @pytest.mark.parametrize("listing", [TASKS, RECORDS, STEPS, LISTS[ErrorSort.COUNT]])
    def test_of_lists(self, examples: int, listing: Listing[Any]) -> None:
        def check(cursor: str) -> None:
            try:
                found = listing.position(cursor)
            except InvalidCursor:
                return
            item = dict(zip((column.key for column in listing._by), found, strict=True))
            assert listing.position(listing.cursor_of(item)) == found

        fuzz(examples, check, self.TEXTS)

    def test_of_streams_and_versions(self, examples: int) -> None:
        def check(cursor: str) -> None:
            moment, version = moment_of(cursor), version_of(cursor)
            assert moment is None or moment_of(cursor_of(moment)) == moment
            assert version is None or version >= 0

        fuzz(examples, check, self.TEXTS)


@pytest.mark.parametrize("examples", EXAMPLES)
def test_conditions_name_a_version_or_none(examples: int) -> None:
    def check(header: str, version: int) -> None:
        named = etag(version) in header or header.strip() == "*"
        assert not not_modified(header, version) or named
        try:
            check_if_match(header, version)
        except PreconditionFailed:
            return
        assert named

    fuzz(examples, check, HEADER, st.integers(0, 99))

"""What a refused field is told: never the value."""

from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, EmailStr, Field, HttpUrl, Json, TypeAdapter, ValidationError

from app.core.validation_errors import PATTERNS, field_errors, without_value
from app.errors import FieldError
from app.models.error_group import FINGERPRINT
from app.schemas.task import TaskCreate
from app.schemas.task_filter import UserOrAll
from app.schemas.user import Username
from app.schemas.values import LIMIT_NAME
from tests.support.tables import check_rows

MARK = "marked-9931"


class Color(StrEnum):
    RED = "red"


class Cat(BaseModel):
    kind: Literal["cat"]


class Dog(BaseModel):
    kind: Literal["dog"]


def _quote(value: Any) -> Any:
    raise ValueError(f"I do not like {value!r}")


def _assert(value: Any) -> Any:
    raise AssertionError(f"I do not like {value}")


KINDS = {
    "pet": Annotated[Cat | Dog, Field(discriminator="kind")], "enum": Color, "literal": Literal["a", "b"],
    "quote": Annotated[Any, AfterValidator(_quote)], "assert": Annotated[Any, AfterValidator(_assert)],
    "pattern": Annotated[str, Field(pattern="^[0-9]$")], "short": Annotated[str, Field(max_length=3)], "json": Json[Any],
    **{kind.__name__: kind for kind in (int, float, bool, bytes, date, datetime, time, timedelta, UUID, Decimal, Fraction,
                                        complex, dict, list, set, HttpUrl)},
    "email": EmailStr,
}  # fmt: skip


VALUES = (
    MARK, f"{MARK}@@x", f"2026-{MARK}", f"http://{MARK} /", [MARK], {"kind": MARK}, {MARK: {"x": MARK}}, f"{{{MARK}",
)  # fmt: skip


def test_nothing_of_the_value_is_in_the_message() -> None:
    def check(kind: str) -> None:
        refused = [error for value in VALUES for error in errors_of(kind, value)]
        assert refused
        assert [error["msg"] for error in refused if "9931" in error["msg"]] == []

    check_rows(check, KINDS)


def errors_of(kind: Any, value: Any, *, context: bool = False) -> list[FieldError]:
    try:
        TypeAdapter(KINDS[kind] if isinstance(kind, str) else kind).validate_python(value)
    except ValidationError as error:
        return field_errors(error.errors(include_url=False, include_context=context))
    return []


def test_what_the_schema_itself_says_is_kept() -> None:
    assert without_value("missing", "Field required", {"a": "Field", "b": "required"}) == "Field required"
    assert without_value("enum", "Input should be 'red'", "red") == "Input should be 'red'"
    assert without_value("of_our_own", "May be left out, but not null", None) == "May be left out, but not null"


def test_a_thousand_are_cut_and_each_has_its_place() -> None:
    errors = [{"type": "missing", "loc": ("a", 1, "k" * 500), "msg": "Field required", "input": None}] * 1000
    refused = field_errors(errors, "body", "kwargs")
    assert len(refused) == 50
    assert refused[0] == {"loc": ["body", "kwargs", "a", 1, "k" * 100], "msg": "is required", "type": "missing"}


def test_a_rule_about_several_fields_says_which() -> None:
    """The text names fields that were sent, which is no echo of their values."""
    task = {"name": "t", "task_type": "t", "celery_task_name": "app.tasks.common_tasks.long_running_task"}
    later = "2030-01-01T00:00:00Z"

    def check(fields: dict[str, Any], text: str) -> None:
        (error,) = errors_of(TaskCreate, task | fields, context=True)
        assert error["msg"] == text

    check_rows(check, [
        ({"run_at": later, "delay_seconds": 1}, "Send run_at or delay_seconds, not both"),
        ({"run_at": later, "expires_at": later}, "expires_at must be later than run_at"),
        ({"on_conflict": "return"}, "on_conflict requires a unique_key"),
        ({"delay_seconds": "60"}, "must be a number"),
        ({"timeout_seconds": 0}, "must be greater than 0"),
        ({"run_at": "2030-01-01T00:00:00 08:00"}, "must be a time with an offset: in a URL, write its `+` as %2B"),
    ])  # fmt: skip


def test_known_patterns_are_told_in_words() -> None:
    assert {FINGERPRINT, LIMIT_NAME} < PATTERNS.keys()
    (error,) = errors_of(Username, "a", context=True)
    assert error["msg"].startswith("must have 3 to 64 characters of A-Z")


def test_of_two_types_one_reason_is_told() -> None:
    (error,) = errors_of(UserOrAll, "admin")
    assert (error["loc"], error["msg"]) == ([], "must be a UUID or 'all'")


def test_a_value_error_is_told_in_its_own_words() -> None:
    assert without_value("value_error", "Value error, is no file", "x.csv") == "is no file"

"""What a body gets for the JSON that was sent, and which signatures cannot be filled from JSON."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from uuid import UUID

import pytest
from celery import Celery
from pydantic import AfterValidator, BaseModel, Field, SecretStr

from app.catalogue import read_tasks
from app.celery_app import SQLAlchemyTask, celery_app
from app.errors import InvalidArguments
from app.messaging.parameters import UnusableParameter, parameters_of_task, without_filled
from tests.unit.tasks.claimed import claimed

if TYPE_CHECKING:
    from fractions import Fraction

ORDER_ID = UUID("01a2145c-0307-733a-9b76-8a1b56b28223")


class Colour(Enum):
    RED = "red"


class Order(BaseModel):
    number: int
    currency: str = "EUR"


@dataclass
class Point:
    x: int
    y: int = 0


class Login(BaseModel):
    password: SecretStr


def _not_now(_: Any) -> Any:
    raise ConnectionError("not now")


Unsettled = Annotated[int, AfterValidator(_not_now)]


class Quarrelsome:
    """Describes itself to pydantic with an error of its own."""

    @classmethod
    def __get_pydantic_core_schema__(cls, *_: Any) -> Any:
        raise KeyError("schema")


class Client:
    """A plain class: no JSON becomes one."""


@pytest.fixture(scope="module")
def app() -> Celery:
    return Celery("parameters-test", task_cls=SQLAlchemyTask, set_as_current=False)


def task_of(app: Celery, function: Any, **options: Any) -> Any:
    return app.task(name=f"test.{function.__name__}.{id(function)}", shared=False, **options)(function)


def received(app: Celery, annotation: Any, sent: Any) -> Any:
    """What a body with one parameter of this annotation gets for `sent`, called by a message without a record."""

    def body(value: Any) -> Any:
        return value

    body.__annotations__["value"] = annotation
    return task_of(app, body).apply(args=[sent]).get()


CONVERTED = [
    (date, "2026-11-25", date(2026, 11, 25)),
    (datetime, "2026-11-25T10:00:00Z", datetime(2026, 11, 25, 10, tzinfo=UTC)),
    (Decimal, "1.10", Decimal("1.10")),
    (UUID, str(ORDER_ID), ORDER_ID),
    (Path, "a/b", Path("a/b")),
    (Colour, "red", Colour.RED),
    (set[int], [1, 2, 2], {1, 2}),
    (tuple[int, str], [1, "x"], (1, "x")),
    (float, 3, 3.0),
    (Order, {"number": 7}, Order(number=7, currency="EUR")),
    (list[Order], [{"number": 7}], [Order(number=7)]),
    (dict[int, date], {"1": "2026-11-25"}, {1: date(2026, 11, 25)}),
    (Point, {"x": 1}, Point(1, 0)),
    (date | None, None, None),
]


def test_thousands_of_errors_are_one(app: Celery) -> None:
    def body(numbers: list[int]) -> None: ...

    parameters = parameters_of_task(task_of(app, body))
    for sent, kind in ((["x"], "int_type"), (["x"] * 5000, "too_many_errors")):
        with pytest.raises(InvalidArguments) as refused:
            parameters.check([], {"numbers": sent})
        assert [(each["loc"][0], each["type"]) for each in refused.value.errors] == [("kwargs", kind)]


class TestConversion:
    @pytest.mark.parametrize(("annotation", "sent", "expected"), CONVERTED, ids=lambda value: str(value)[:30])
    def test_the_body_gets_what_its_annotation_names(
        self, app: Celery, annotation: Any, sent: Any, expected: Any
    ) -> None:
        got = received(app, annotation, sent)
        assert (got, type(got)) == (expected, type(expected))

    def test_every_kind_of_parameter_is_converted_and_what_is_not_annotated_stays(self, app: Celery) -> None:
        def body(self: Any, first: date, /, *days: date, order: Order, plain=None, **rest: Any) -> list[Any]:
            return [first, days, order, plain, rest]

        kwargs = {"order": {"number": 1}, "plain": "2026-01-01", "first": "2026-01-01", "task_id": "x"}
        day = date(2026, 1, 1)
        assert task_of(app, body, bind=True).apply(args=["2026-01-01", "2026-01-01"], kwargs=kwargs).get() == [
            day, (day,), Order(number=1), "2026-01-01", {"first": "2026-01-01", "task_id": "x"},
        ]  # fmt: skip

    def test_with_a_record_too_and_the_record_keeps_the_json(self, app: Celery) -> None:
        seen: list[Any] = []

        def body(order: Order, day: date = date(2026, 1, 1)) -> dict[str, Any]:
            seen.extend([order, day])
            return {"order": order, "day": day}

        attempt = claimed(kwargs={"order": {"number": 7}})
        attempt.trace(task_of(app, body))
        assert seen == [Order(number=7), date(2026, 1, 1)]
        assert attempt.result().result == {"order": {"number": 7, "currency": "EUR"}, "day": "2026-01-01"}
        assert attempt.claim.kwargs == {"order": {"number": 7}}

    def test_a_value_that_does_not_fit_fails_without_another_attempt_and_names_the_parameter(self, app: Celery) -> None:
        def body(day: date) -> None:
            raise AssertionError("the body must not start")

        attempt = claimed(args=["tomorrow"], max_attempts=5, max_attempts_named=True)
        assert attempt.trace(task_of(app, body)) == "FAILURE"
        ((outcome, error),) = attempt.ends
        assert (outcome, type(error)) == ("failed", InvalidArguments)
        assert "day: must be a date, such as 2030-01-02" in str(error)

    def test_an_error_of_a_types_own_ends_the_attempt_as_one_of_the_body_and_may_be_retried(self, app: Celery) -> None:
        def body(value: Unsettled) -> None:
            raise AssertionError("the body must not start")

        for attempts, end in ((1, "failed"), (2, "retried")):
            attempt = claimed(args=[1], max_attempts=attempts, max_attempts_named=True)
            attempt.trace(task_of(app, body))
            ((outcome, error),) = attempt.ends
            assert (outcome, str(error)) == (end, "not now")

    def test_only_what_is_converted_is_checked_and_the_rest_arrives_as_it_is(self, app: Celery) -> None:
        def body(count: int, day: date, blob=None) -> list[Any]:
            return [count, day, blob]

        for blob in (b"\xff\x00", "\ud800", float("inf"), {1, 2}):
            got = task_of(app, body).apply(args=["30", "2026-01-01", blob]).get()
            assert got == ["30", date(2026, 1, 1), blob]

    def test_objects_arrive_as_they_are_with_what_json_would_not_show(self, app: Celery) -> None:
        def body(login: Login) -> Any:
            return login.password.get_secret_value()

        assert task_of(app, body).apply(args=[Login(password=SecretStr("secret"))]).get() == "secret"
        assert task_of(app, body).apply(args=[{"password": "secret"}]).get() == "secret"

    def test_a_retry_with_converted_arguments_sends_the_json_that_becomes_the_same(self, app: Celery) -> None:
        def body(self: Any, order: Order, day: date) -> None:
            self.retry(args=[], kwargs={"order": order, "day": day})

        attempt = claimed(args=[{"number": 7}, "2026-01-01"])
        assert attempt.trace(task_of(app, body, bind=True)) == "RETRY"
        following = attempt.result().next_try
        assert following is not None
        assert following.kwargs == {"order": {"number": 7, "currency": "EUR"}, "day": "2026-01-01"}

    def test_a_retry_that_would_lose_a_secret_fails_and_says_so(self, app: Celery) -> None:
        def body(self: Any, login: Login) -> None:
            self.retry(kwargs={"login": login})

        attempt = claimed(kwargs={"login": {"password": "secret"}})
        assert attempt.trace(task_of(app, body, bind=True)) == "FAILURE"
        ((outcome, error),) = attempt.ends
        assert outcome == "failed"
        assert "the retry's kwargs is not JSON: pydantic masks the value of a SecretStr" in str(error)

    @pytest.mark.parametrize("sent", [b"\xff\x00", Decimal("1.10"), date(2026, 1, 1), float("inf")])
    def test_what_kombu_brings_fits_its_own_annotation(self, app: Celery, sent: Any) -> None:
        assert received(app, type(sent), sent) == sent

    def test_the_task_id_may_be_given_by_position(self, app: Celery) -> None:
        def body(share: float, task_id: Any = None) -> list[Any]:
            return [share, task_id]

        assert task_of(app, body).apply(args=[1, "x"]).get() == [1.0, "x"]

    def test_a_decorator_may_fill_a_parameter(self, app: Celery) -> None:
        def connected(function: Any) -> Any:
            return wraps(function)(lambda *args: function("connection", *args))

        @connected
        def body(connection: str, day: date) -> list[Any]:
            return [connection, day]

        assert task_of(app, body).apply(args=["2026-01-01"]).get() == ["connection", "2026-01-01"]

    @pytest.mark.parametrize("annotation", [Iterable, Iterable[int], Annotated[Iterable[int], Field(min_length=1)]])
    def test_an_iterable_is_a_list_that_can_be_counted_and_read_twice(self, app: Celery, annotation: Any) -> None:
        assert received(app, annotation, [1, 2]) == [1, 2]

    def test_a_signature_of_json_types_alone_costs_nothing(self, app: Celery) -> None:
        def body(a: int, b: str | None, c: dict[str, Any], d: list[str], e: Literal["x", 1], f=None) -> None: ...

        assert not parameters_of_task(task_of(app, body)).converters

    def test_called_as_a_function_nothing_is_touched(self, app: Celery) -> None:
        def body(day: date) -> Any:
            return day

        assert task_of(app, body)("tomorrow") == "tomorrow"


class TestUnusable:
    def test_a_name_that_is_imported_for_type_checking_alone(self, app: Celery) -> None:
        def body(count: int, share: "Fraction") -> None: ...

        with pytest.raises(UnusableParameter, match=r"`share: Fraction` cannot be resolved .* import it at the top"):
            parameters_of_task(task_of(app, body))

    def test_self_without_bind(self, app: Celery) -> None:
        def body(self: Any, count: int) -> None: ...

        with pytest.raises(UnusableParameter, match="`self`: write bind=True"):
            parameters_of_task(task_of(app, body))

    def test_bind_without_self(self, app: Celery) -> None:
        def body(duration: float, steps: int = 1) -> None: ...

        with pytest.raises(UnusableParameter, match="fills its first parameter `duration: float` with the task"):
            parameters_of_task(task_of(app, body, bind=True))

        def nothing() -> None: ...

        with pytest.raises(UnusableParameter, match="add `self` as its first parameter"):
            parameters_of_task(task_of(app, nothing, bind=True))

        def hinted(self: "Fraction", count: int) -> None: ...

        assert [*parameters_of_task(task_of(app, hinted, bind=True)).signature.parameters] == ["count"]

        def named_otherwise(task: Any, count: int) -> None: ...

        assert [*parameters_of_task(task_of(app, named_otherwise, bind=True)).signature.parameters] == ["count"]

    def test_a_plain_class(self, app: Celery) -> None:
        def body(count: int, client: Client) -> None: ...

        with pytest.raises(UnusableParameter, match=r"`client: .*Client` is no JSON .* a pydantic model"):
            parameters_of_task(task_of(app, body))

    @pytest.mark.parametrize(
        ("annotation", "reason"),
        [
            (Quarrelsome, "KeyError: 'schema'"),
            (Annotated[str, Field(pattern="(")], "SchemaError: "),
            (Annotated[int | str, Field(discriminator="kind")], "TypeError: "),
        ],
    )
    def test_whatever_a_type_raises_when_it_is_asked_for_its_schema(
        self, app: Celery, annotation: Any, reason: str
    ) -> None:
        def body(value: Any) -> None: ...

        body.__annotations__["value"] = annotation
        with pytest.raises(UnusableParameter, match=f"`value: .*` is no JSON .{reason}"):
            parameters_of_task(task_of(app, body))

    def test_it_is_left_out_of_the_catalogue_and_everything_else_stays(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        usable = set(read_tasks.__wrapped__()[0])  # now: other tests of this process may have imported more since

        def body(client: Client) -> None: ...

        name = "tests.unusable"
        task = celery_app.task(name=name, shared=False)(body)
        monkeypatch.setitem(celery_app.tasks, name, task)
        found, (finding,) = read_tasks.__wrapped__()
        assert set(found) == usable
        line = body.__code__.co_firstlineno
        assert str(finding).startswith(f"task {name} is not in the catalogue: parameter `client: ")
        assert str(finding).endswith(f"({__file__}:{line})")
        assert [record.getMessage() for record in caplog.records] == [str(finding)]

    def test_called_by_a_message_it_runs_as_in_celery(self, app: Celery) -> None:
        def body(client: Client) -> str:
            return str(client)

        assert task_of(app, body).apply(args=["x"]).get() == "x"


class TestWithoutARecord:
    """What only the service fills has its default, wherever the sender put a value."""

    def test_an_id_by_keyword_or_position_is_left_out(self, app: Celery) -> None:
        def body(value: int, task_id: str = "none", other: int = 1) -> None: ...

        task = task_of(app, body)
        assert without_filled(task, [1, "another's", 2], {}) == ([1, "none", 2], {})
        assert without_filled(task, [1], {"task_id": "another's", "other": 3}) == ([1], {"task_id": "none", "other": 3})

    def test_without_a_default_it_is_none(self, app: Celery) -> None:
        def body(task_id: str, *rest: int) -> None: ...

        assert without_filled(task_of(app, body), ["another's", 2], {}) == ([None, 2], {})

    def test_no_other_argument_is_touched(self, app: Celery) -> None:
        def body(first: int, *rest: int, task_id: str | None = None, **more: int) -> None: ...

        args = [1, 2, 3]
        assert without_filled(task_of(app, body), args, {"task_id": "x", "y": 1}) == (args, {"task_id": None, "y": 1})

        def bare(value: int, **more: int) -> None: ...

        assert without_filled(task_of(app, bare), args, {"task_id": "x"}) == (args, {"task_id": "x"})

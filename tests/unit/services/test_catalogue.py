"""Parameters from signatures: the schema that clients read, and the check of what they send."""

from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from celery import Celery, Task
from pydantic import AfterValidator, BaseModel, Field

from app.catalogue import TaskType, catalogue, find_type, read_tasks, type_of
from app.celery_app import celery_app
from app.errors import InvalidArguments, UnknownTask
from tests.support.sources import SHIPPED_TASKS


class Order(BaseModel):
    number: int


def entry(app: Celery, function: Any, **options: Any) -> TaskType:
    return type_of(app.task(name=f"test.{function.__name__}.{id(function)}", shared=False, **options)(function))


class TestSchema:
    def test_required_and_optional_parameters(self, app: Celery) -> None:
        def body(self: Any, count: int, mode: Literal["fast", "slow"] = "fast", task_id: str | None = None) -> None:
            """One line.

            And more.
            """

        found = entry(app, body, bind=True)
        assert found.summary == "One line."
        assert found.description == "And more."
        assert found.parameters["required"] == ["count"]
        assert set(found.parameters["properties"]) == {"count", "mode"}
        assert found.parameters["properties"]["mode"]["enum"] == ["fast", "slow"]
        assert found.parameters["additionalProperties"] is False

    def test_keyword_arguments_let_others_in(self, app: Celery) -> None:
        def body(a: int, **rest: Any) -> None: ...

        found = entry(app, body)
        assert found.parameters["additionalProperties"] is True
        found.check([1], {"anything": {"x": []}})

    def test_a_parameter_may_be_called_as_pydantic_calls_its_own(self, app: Celery) -> None:
        def body(json: int, schema: str, _hidden: int = 1, model_config: int = 2) -> None: ...

        found = entry(app, body)
        assert set(found.parameters["properties"]) == {"json", "schema", "_hidden", "model_config"}
        found.check([], {"json": 1, "schema": "x", "_hidden": 2})


class TestCheck:
    def refused(self, kind: TaskType, args: list[Any], kwargs: dict[str, Any]) -> list[str | int]:
        with pytest.raises(InvalidArguments) as caught:
            kind.check(args, kwargs)
        return caught.value.errors[0]["loc"]

    def test_names_the_parameter(self, app: Celery) -> None:
        def body(
            count: Annotated[int, Field(ge=1)], when: datetime | None = None, order: Order | None = None
        ) -> None: ...

        kind = entry(app, body)
        assert self.refused(kind, ["x"], {}) == ["args", "count"]
        assert self.refused(kind, [], {"count": 0}) == ["kwargs", "count"]
        assert self.refused(kind, [], {}) == ["kwargs", "count"]
        assert self.refused(kind, [1], {"other": 1}) == ["kwargs", "other"]
        assert self.refused(kind, [1], {"count": 2}) == ["kwargs", "count"]
        assert self.refused(kind, [1], {"when": "yesterday"}) == ["kwargs", "when"]
        assert self.refused(kind, [1], {"order": {"number": "x"}}) == ["kwargs", "order", "number"]
        assert self.refused(kind, [1, None, None, 4], {}) == ["args"]

    def test_is_strict_about_json_types_and_knows_json_has_no_dates(self, app: Celery) -> None:
        def body(count: int, share: float, when: datetime) -> None: ...

        kind = entry(app, body)
        kind.check([1, 2, "2026-01-01T00:00:00Z"], {})
        assert self.refused(kind, ["1", 2, "2026-01-01T00:00:00Z"], {}) == ["args", "count"]

    def test_the_record_id_is_the_services_to_fill(self, app: Celery) -> None:
        def body(task_id: str | None = None) -> None: ...

        assert self.refused(entry(app, body), [], {"task_id": "x"}) == ["kwargs", "task_id"]

    def test_more_positional_arguments(self, app: Celery) -> None:
        def body(first: int, *others: int) -> None: ...

        kind = entry(app, body)
        kind.check([1, 2, 3], {})
        assert self.refused(kind, [1, "x"], {})[:2] == ["args", "others"]


class TestAttempts:
    def test_as_the_decorator_says(self, app: Celery) -> None:
        def attempts(**options: Any) -> tuple[int, bool]:
            def body() -> None: ...

            found = entry(app, body, **options)
            return found.max_attempts, found.max_attempts_named

        assert attempts() == (1, False)
        assert attempts(max_attempts=7) == (7, True)
        assert attempts(autoretry_for=(OSError,), max_retries=4) == (5, False)


class TestWhatShips:
    """Users add tasks of their own, in whatever form they like: these tests look at those that ship alone."""

    def test_housekeeping_and_celerys_own_tasks_cannot_be_created(self) -> None:
        own = "app.tasks.common_tasks"
        for name in (f"{own}.purge_finished_tasks", f"{own}.purge_expired_logins", "celery.backend_cleanup"):
            with pytest.raises(UnknownTask):
                find_type(name)

    def test_every_task_says_what_it_does(self) -> None:
        shipped = SHIPPED_TASKS & catalogue().keys()  # those of models may not be there
        assert shipped >= {name for name in SHIPPED_TASKS if ".model_tasks." not in name}
        for name in shipped:
            assert catalogue()[name].summary.endswith("."), name

    def test_the_example_of_the_specification_fits(self) -> None:
        find_type("app.tasks.common_tasks.long_running_task").check([60], {"param": "value"})


class TestAForeignBase:
    @pytest.fixture
    def register(self) -> Iterator[Callable[..., str]]:
        class Own(Task):
            abstract = True

        def register(**options: Any) -> str:
            def body() -> None: ...

            celery_app.task(name=name, base=Own, shared=False, **options)(body)
            return name

        name = "test.own_base"
        yield register
        celery_app.tasks.unregister(name)

    def test_is_a_finding_that_says_which_base_to_take(self, register: Callable[..., str]) -> None:
        name = register()
        found, findings = read_tasks.__wrapped__()
        assert name not in found
        (told,) = (str(each) for each in findings if name in each.what)
        assert told.startswith(f"task {name} is not in the catalogue: its base class does not record tasks: ")
        assert "app.celery_app.SQLAlchemyTask" in told
        assert f"({__file__}:" in told

    def test_is_a_finding_also_where_the_body_stands_in_no_file(self, register: Callable[..., str]) -> None:
        class Odd(Task):
            name = register()
            run = staticmethod(partial(print, "x"))

        celery_app.tasks.unregister(Odd.name)
        celery_app.register_task(Odd())
        _, findings = read_tasks.__wrapped__()
        (told,) = (str(each) for each in findings if Odd.name in each.what)
        assert "Odd)" in told

    def test_is_none_of_a_task_that_is_not_for_the_catalogue(self, register: Callable[..., str]) -> None:
        name = register(catalogue=False)
        found, findings = read_tasks.__wrapped__()
        assert name not in found
        assert not any(own in each.what for each in findings for own in (name, "task_service.", "celery."))


class TestSecrets:
    def test_no_message_repeats_a_value_whatever_the_tasks_own_validator_says(self, app: Celery) -> None:
        def quote(value: str) -> str:
            raise ValueError(f"I do not like {value!r}")

        def body(name: Annotated[str, AfterValidator(quote)], number: UUID) -> None: ...

        with pytest.raises(InvalidArguments) as refused:
            entry(app, body).check(["m4rk"], {"number": "m4rk-too"})
        assert [each["loc"] for each in refused.value.errors] == [["args", "name"], ["kwargs", "number"]]
        assert "m4rk" not in str(refused.value.errors)

    def test_what_stands_for_a_hidden_value_is_none(self, app: Celery) -> None:
        def body(user: str, password: str = "") -> None: ...

        kind = entry(app, body)
        for args, kwargs in ((["anna", "***"], {}), (["anna"], {"password": "***"})):
            with pytest.raises(InvalidArguments) as refused:
                kind.check(args, kwargs)
            assert refused.value.errors[0]["loc"] == ["kwargs", "password"]
            assert refused.value.errors[0]["type"] == "hidden_value"

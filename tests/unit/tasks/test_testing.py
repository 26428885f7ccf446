"""What `app.testing` offers to those who test tasks of their own."""

import asyncio
import time
from datetime import date, timedelta
from typing import Annotated, Any
from uuid import UUID

import pytest
from celery import Celery
from pydantic import BaseModel, Field

from app.errors import InvalidArguments, InvalidTask, Unavailable
from app.services.task_service import task_service
from app.tasks.base import SQLAlchemyTask
from app.tasks.common_tasks import long_running_task
from app.testing import Report, TaskRunner, run_task
from tests.support.services import ROOT
from tests.support.sources import run_program
from tests.unit.tasks.claimed import Define


class Order(BaseModel):
    number: Annotated[int, Field(ge=1)]
    currency: str = "EUR"


def days_of(self: Any, order: Order, day: date, task_id: str | None = None) -> dict[str, Any]:
    return {"order": order, "days": (day, day + timedelta(days=1)), "id": task_id}


class TestSuccess:
    def test_arguments_are_converted_the_id_filled_and_the_result_is_json(self, define: Define) -> None:
        run = run_task(define(days_of), {"number": 7}, day="2026-11-25")
        assert (run.status, run.outcome) == ("succeeded", "succeeded")
        assert run.result == {
            "order": {"number": 7, "currency": "EUR"},
            "days": ["2026-11-25", "2026-11-26"],
            "id": str(run.task_id),
        }
        assert (run.error, run.exception, run.retry, run.next_try) == (None, None, None, None)

    def test_each_run_is_a_task_of_its_own(self, define: Define) -> None:
        task = define(days_of)
        first, second = (run_task(task, {"number": 7}, "2026-11-25").task_id for _ in range(2))
        assert isinstance(first, UUID)
        assert first != second

    def test_a_task_of_the_service_runs_too(self) -> None:
        run = run_task(long_running_task, 0, steps=2, param="value")
        assert (run.status, run.progress, run.result["parameters"]) == ("succeeded", 100, {"param": "value"})

    def test_an_async_body(self, define: Define, task_runner: TaskRunner) -> None:
        async def squares(self: Any, count: int) -> list[int]:
            await asyncio.sleep(0)
            self.update_progress(50)
            return [number * number for number in range(count)]

        run = task_runner.run(define(squares), 4)
        assert (run.result, run.percents) == ([0, 1, 4, 9], [50])

    def test_hooks_are_called(self, define: Define) -> None:
        called: list[str] = []

        class Hooked(SQLAlchemyTask):
            abstract = True

            def before_start(self, *arguments: Any) -> None:
                called.append("before_start")
                super().before_start(*arguments)

            def after_return(self, status: str, *arguments: Any) -> None:
                called.append(status)
                super().after_return(status, *arguments)

        run_task(define(days_of, base=Hooked), {"number": 7}, "2026-11-25")
        assert called == ["before_start", "SUCCESS"]


class TestRefusal:
    @pytest.mark.parametrize(
        ("args", "kwargs", "parameter", "says"),
        [
            ([{"number": 0}, "2026-11-25"], {}, "order", "must be 1 or more"),
            ([{"number": 7}], {"day": "tomorrow"}, "day", "must be a date"),
            ([{"number": 7}], {}, "day", "is required"),
            ([{"number": 7}, "2026-11-25"], {"colour": "red"}, "colour", "unknown argument"),
            ([{"number": 7}, "2026-11-25"], {"task_id": "mine"}, "task_id", "do not send it"),
        ],
    )
    def test_arguments_that_a_request_may_not_have(
        self, define: Define, args: list[Any], kwargs: dict[str, Any], parameter: str, says: str
    ) -> None:
        with pytest.raises(InvalidArguments) as refused:
            run_task(define(days_of), *args, **kwargs)
        (error,) = refused.value.errors
        assert parameter in error["loc"]
        assert says in error["msg"]

    def test_arguments_that_are_no_json(self, define: Define) -> None:
        with pytest.raises(InvalidTask, match="date is not JSON"):
            run_task(define(days_of), {"number": 7}, date(2026, 11, 25))

    def test_options_that_a_request_may_not_have(self, define: Define) -> None:
        with pytest.raises(InvalidTask, match="max_attempts"):
            TaskRunner(max_attempts=0).run(define(days_of), {"number": 7}, "2026-11-25")

    def test_the_body_gets_what_json_makes_of_them(self, define: Define) -> None:
        def work(self: Any, pair: Any) -> str:
            return type(pair).__name__

        assert run_task(define(work), (1, 2)).result == "list"

    def test_what_is_no_task_of_the_service(self) -> None:
        plain = Celery("plain", set_as_current=False).task(shared=False)(days_of)
        for other in (len, plain):
            with pytest.raises(TypeError, match="is not a task of celery_app"):
                run_task(other, [])


class TestFailure:
    def test_tells_the_error_as_the_row_does_and_the_exception_itself(self, define: Define) -> None:
        def work(self: Any, password: str) -> None:
            self.update_progress(40, {"step": 1})
            raise ValueError(f"no {password}")

        run = run_task(define(work), "correct-horse-battery")
        assert (run.status, run.result, run.progress, run.progress_detail) == ("failed", None, 40, {"step": 1})
        assert run.error is not None
        assert (run.error.type, run.error.message) == ("ValueError", "no ***")
        assert isinstance(run.exception, ValueError)

    def test_a_secret_is_hidden_wherever_the_exception_keeps_it(self, define: Define) -> None:
        class Refused(Exception):
            def __str__(self) -> str:
                return "correct-horse-battery was refused"

        def work(self: Any, password: str) -> None:
            raise Refused

        run = run_task(define(work), "correct-horse-battery")
        assert run.error is not None
        assert run.error.message == "*** was refused"

    @pytest.mark.parametrize(
        ("failures", "status", "retry"), [(0, "pending", 5), (1, "pending", 10), (2, "failed", None)]
    )
    def test_a_retry_is_a_delay_until_the_attempts_are_used_up(
        self, define: Define, failures: int, status: str, retry: float | None
    ) -> None:
        def work(self: Any) -> None:
            raise ConnectionError("away")

        task = define(work, max_attempts=3, retry_backoff=5, retry_jitter=False)
        run = TaskRunner(failures=failures).run(task)
        assert (run.status, run.retry, str(run.exception)) == (status, retry, "away")

    def test_a_retry_that_the_body_asks_for(self, define: Define) -> None:
        def work(self: Any, part: int) -> int:
            if self.request.retries < 1:
                raise self.retry(countdown=7, args=[part + 1])
            return part

        task = define(work)
        run = run_task(task, 1)
        assert (run.status, run.retry, run.next_try and run.next_try.args) == ("pending", 7, [2])
        assert TaskRunner(failures=1).run(task, 2).result == 2

    def test_a_body_that_ends_itself_needs_a_row(self, define: Define) -> None:
        def work(self: Any, task_id: str = "") -> None:
            task_service.update_task_status(self.db, task_id, "succeeded", 100, {})

        run = run_task(define(work))
        assert run.status == "failed"
        assert isinstance(run.exception, Unavailable)


class TestProgress:
    def test_is_told_report_by_report(self, define: Define) -> None:
        def work(self: Any) -> None:
            for item in self.track(["a", "b"]):
                self.update_progress(None, {"item": (item,)})

        run = run_task(define(work))
        a, b = {"item": ["a"]}, {"item": ["b"]}
        assert run.reports == [Report(0, None), Report(None, a), Report(50, None), Report(None, b), Report(100, None)]
        assert (run.progress, run.progress_detail, run.details) == (100, b, [a, b])

    @pytest.mark.parametrize("report", [(101, None), (-1, None), (None, {"a": object()}), (None, "x" * 2_000_000)])
    def test_what_a_worker_refuses_is_refused(self, define: Define, report: tuple[int | None, Any]) -> None:
        def work(self: Any) -> None:
            self.update_progress(*report)

        run = run_task(define(work))
        assert (run.status, run.reports) == ("failed", [])


class TestCancellation:
    def test_is_heard_at_the_report_of_that_number(self, define: Define) -> None:
        done: list[int] = []

        def work(self: Any) -> None:
            try:
                done.extend(self.track(range(10)))
            finally:
                done.append(-1)

        run = TaskRunner(cancel_after=3).run(define(work))
        assert (run.status, run.error, done) == ("revoked", None, [0, 1, -1])
        assert (run.progress, len(run.reports)) == (20, 3)

    def test_a_failure_after_it_is_a_cancellation_too(self, define: Define) -> None:
        def work(self: Any) -> None:
            try:
                self.update_progress(1)
            finally:
                raise ValueError("on the way out")

        assert TaskRunner(cancel_after=1).run(define(work, max_attempts=3)).status == "revoked"

    def test_a_success_after_it_wins(self, define: Define) -> None:
        def work(self: Any) -> str:
            try:
                self.update_progress(1)
            except BaseException:  # noqa: BLE001 (as nobody should)
                time.sleep(0)
            return "done"

        assert TaskRunner(cancel_after=1).run(define(work)).status == "succeeded"


class TestThePlugin:
    def test_gives_a_team_the_fixture(self, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
        pytester.makeconftest('pytest_plugins = ["app.testing"]')
        pytester.makepyfile(
            """
            from app.celery_app import celery_app

            @celery_app.task(bind=True, name="team.double", catalogue=False)
            def double(self, number: int) -> int:
                return number * 2

            def test_double(task_runner):
                assert task_runner.run(double, 4).result == 8
            """
        )
        monkeypatch.setenv("PYTHONPATH", str(ROOT))
        pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)

    def test_the_service_imports_no_pytest_and_without_it_the_rest_works(self) -> None:
        program = (
            "import app.main, app.celery_app, app.tasks, sys; assert 'pytest' not in sys.modules;"
            "sys.modules['pytest'] = None;"
            "from app.testing import run_task; from app.tasks.common_tasks import long_running_task;"
            "assert run_task(long_running_task, 0, steps=1).status == 'succeeded';"
            "import app.testing; assert not hasattr(app.testing, 'task_runner')"
        )
        run_program(program)

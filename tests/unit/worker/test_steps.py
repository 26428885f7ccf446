"""Steps of a body: which function runs, what it gives, and what a name may be."""

import asyncio
import functools
import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import pytest
from pydantic import BaseModel

from app.core.config import get_settings
from app.db.statements.attached_rows import Step
from app.db.statements.task_moves import Cancellation
from app.errors import AttemptLost, ResultTooLarge, StepRepeated, TaskCancelled
from app.worker.child.steps import Steps, is_async


class Rows:
    """The steps of one task, and what a write is answered."""

    def __init__(self) -> None:
        self.kept: dict[str, Any] = {}
        self.numbers: list[int] = []
        self.asked: list[str] = []
        self.answer: Cancellation = (None,)

    def write(self, step: Step) -> Cancellation:
        self.asked.append("write")
        if self.answer is not None:
            self.kept[step.name] = step.result
            self.numbers.append(step.seq)
        return self.answer

    def names(self) -> set[str]:
        self.asked.append("names")
        return set(self.kept)

    def result(self, name: str) -> Any:
        self.asked.append("result")
        text = self.kept[name]
        return None if text is None else json.loads(text)


@pytest.fixture
def rows() -> Rows:
    return Rows()


def step(steps: Steps, name: Any, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return steps.run(name, function, args, kwargs)


class TestAStep:
    def test_gets_its_arguments_and_gives_its_result_as_json(self, rows: Rows) -> None:
        found = step(Steps(1, rows), "a", lambda *args, **kwargs: (args, kwargs, date(2026, 1, 2)), 1, key=2)
        assert found == [[1], {"key": 2}, "2026-01-02"]
        assert rows.asked == ["write"]

    def test_runs_once_in_all_attempts(self, rows: Rows) -> None:
        calls = list[str]()
        for number in (1, 2, 3):
            assert step(Steps(number, rows), "a", lambda: calls.append("a") or {"rows": 3}) == {"rows": 3}
        assert calls == ["a"]
        assert rows.asked == ["write", "names", "result", "names", "result"]

    def test_without_a_result_is_kept_too(self, rows: Rows) -> None:
        calls = list[int]()
        for number in (1, 2):
            assert step(Steps(number, rows), "a", calls.append, number) is None
        assert (calls, rows.kept) == ([1], {"a": None})

    def test_that_fails_runs_again(self, rows: Rows) -> None:
        with pytest.raises(ZeroDivisionError):
            step(Steps(1, rows), "a", lambda: 1 / 0)
        assert step(Steps(2, rows), "a", lambda: 1) == 1
        assert rows.kept == {"a": "1"}

    def test_may_have_steps_itself(self, rows: Rows) -> None:
        steps = Steps(2, rows)
        assert step(steps, "outer", lambda: step(steps, "inner", lambda: 1) + 1) == 2
        assert rows.kept == {"inner": "1", "outer": "2"}

    def test_reads_what_is_kept_once_and_asks_for_no_result_that_it_does_not_need(self, rows: Rows) -> None:
        rows.kept = {str(number): "1" for number in range(3)}
        steps = Steps(2, rows)
        for name in ("0", "x", "y"):
            step(steps, name, lambda: 1)
        assert rows.asked == ["names", "result", "write", "write"]

    def test_has_a_number_of_its_attempt(self, rows: Rows) -> None:
        steps = Steps(2, rows)
        for name in "ab":
            step(steps, name, lambda: None)
        assert rows.numbers == [(2 << 32) + 1, (2 << 32) + 2]


class TestAnAsyncOne:
    def test_is_awaited_and_runs_once(self, rows: Rows) -> None:
        calls = list[str]()

        async def work(text: str) -> str:
            await asyncio.sleep(0)
            calls.append(text)
            return text

        for number in (1, 2):
            assert asyncio.run(_awaited(step(Steps(number, rows), "a", work, "x"))) == "x"
        assert (calls, rows.kept) == (["x"], {"a": '"x"'})

    def test_may_run_beside_others(self, rows: Rows) -> None:
        async def body(steps: Steps) -> list[int]:
            async def give(number: int) -> int:
                await asyncio.sleep(0)
                return number

            return list(await asyncio.gather(*(step(steps, str(each), give, each) for each in range(3))))

        assert asyncio.run(body(Steps(1, rows))) == [0, 1, 2]
        assert len({*rows.numbers}) == 3

    def test_is_known_behind_a_partial_and_as_an_object(self) -> None:
        class Work:
            async def __call__(self) -> int:
                return 1

        assert is_async(functools.partial(Work().__call__))
        assert is_async(Work())
        assert not is_async(dict)


async def _awaited(awaitable: Any) -> Any:
    return await awaitable


class TestAName:
    def test_that_is_used_twice_is_the_fault_of_the_attempt(self, rows: Rows) -> None:
        steps = Steps(1, rows)
        step(steps, "a", lambda: 1)
        with pytest.raises(StepRepeated, match="'a'"):
            step(steps, "a", lambda: 2)
        assert isinstance(steps.fault, StepRepeated)
        assert rows.kept == {"a": "1"}

    @pytest.mark.parametrize("name", ["", "x" * 201, "a\0", "\ud800"])
    def test_that_no_row_can_have_is_refused(self, rows: Rows, name: str) -> None:
        with pytest.raises(ValueError, match=r"name|surrogates"):
            step(Steps(1, rows), name, pytest.fail)
        assert rows.asked == []

    def test_that_is_no_text_is_refused(self, rows: Rows) -> None:
        with pytest.raises(TypeError, match="not int"):
            step(Steps(1, rows), 1, pytest.fail)


class TestAResult:
    def test_that_is_no_json_is_not_kept(self, rows: Rows) -> None:
        with pytest.raises(TypeError, match="result of a step is not JSON"):
            step(Steps(1, rows), "a", object)
        with pytest.raises(ValueError, match="result of a step is not JSON"):
            step(Steps(1, rows), "b", lambda: float("nan"))
        assert rows.kept == {}

    def test_that_is_too_large_is_not_kept(self, rows: Rows) -> None:
        with pytest.raises(ResultTooLarge, match="result of a step takes"):
            step(Steps(1, rows), "a", lambda: "x" * get_settings().max_result_bytes)
        assert rows.kept == {}

    def test_of_a_model_is_its_json(self, rows: Rows) -> None:
        class Found(BaseModel):
            rows: int

        assert step(Steps(1, rows), "a", lambda: Found(rows=3)) == {"rows": 3}
        assert rows.kept == {"a": '{"rows":3}'}


class TestTheAnswer:
    def test_of_a_lost_attempt_raises_it(self, rows: Rows) -> None:
        rows.answer = None
        with pytest.raises(AttemptLost):
            step(Steps(1, rows), "a", lambda: 1)

    def test_that_the_task_is_cancelled_raises_it_once_the_step_is_kept(self, rows: Rows) -> None:
        rows.answer = (datetime(2026, 1, 2, tzinfo=UTC),)
        with pytest.raises(TaskCancelled):
            step(Steps(1, rows), "a", lambda: 1)
        assert rows.kept == {"a": "1"}

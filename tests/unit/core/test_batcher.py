"""Group commit: which calls go together, what each gets, and what becomes of those that are cancelled, fail or come late."""

import asyncio
import sys
import threading
from collections.abc import Sequence

import pytest

from app.core.batcher import Batcher
from app.core.fair_threads import PROMPT_SECONDS as SWITCH_SECONDS, PromptThreads
from app.errors import Overloaded, TooManyWaiting

pytestmark = pytest.mark.anyio
SECONDS = 10


class Work:
    """Doubles numbers; holds each batch until it is let go."""

    def __init__(self, *, held: bool = False) -> None:
        self.batches: list[list[int]] = []
        self.begun, self.go = threading.Semaphore(0), threading.Semaphore(0)
        self.held = held

    def __call__(self, items: list[int]) -> Sequence[int | Exception]:
        self.batches.append(items)
        self.begun.release()
        if self.held:
            assert self.go.acquire(timeout=SECONDS)
        return [ValueError(str(item)) if item < 0 else 2 * item for item in items]


async def until_begun(work: Work) -> None:
    await asyncio.to_thread(work.begun.acquire)


def submit(batcher: Batcher[int, int], *items: int) -> list["asyncio.Task[int]"]:
    return [asyncio.create_task(batcher.submit(item)) for item in items]


@pytest.mark.parametrize(("options", "batches"), [({}, [[1, 2, 3]]), ({"max_batch": 2}, [[1, 2], [3]])])
async def test_calls_of_the_same_moment_go_together_up_to_the_limit(
    options: dict[str, int], batches: list[list[int]]
) -> None:
    work = Work()
    batcher = Batcher(work, "test", **options)
    assert await asyncio.gather(*submit(batcher, 1, 2, 3)) == [2, 4, 6]
    assert work.batches == batches
    await batcher.close()


async def test_the_next_batch_forms_while_one_is_in_flight() -> None:
    work = Work(held=True)
    batcher = Batcher(work, "test")
    first = submit(batcher, 1)
    await until_begun(work)
    others = submit(batcher, 2, 3) + submit(batcher, 4)
    await asyncio.sleep(0)
    assert work.batches == [[1]]
    work.go.release(2)
    assert await asyncio.gather(*first, *others) == [2, 4, 6, 8]
    assert work.batches == [[1], [2, 3, 4]]
    await batcher.close()


async def test_each_caller_gets_a_result_or_an_exception_of_its_own() -> None:
    batcher = Batcher(Work(), "test")
    first, second, third = await asyncio.gather(*submit(batcher, 1, -2, 3), return_exceptions=True)
    assert (first, third) == (2, 6)
    assert isinstance(second, ValueError)
    assert str(second) == "-2"
    await batcher.close()


@pytest.mark.parametrize("lost", ["raises", "forgets"])
async def test_a_batch_that_fails_tells_all_of_its_callers_and_no_others(lost: str) -> None:
    def work(items: list[int]) -> Sequence[int]:
        if items == [3]:
            return items
        if lost == "raises":
            raise OSError("gone")
        return items[1:]

    batcher = Batcher(work, "test", max_batch=2)
    first, second, third = await asyncio.gather(*submit(batcher, 1, 2, 3), return_exceptions=True)
    assert [type(first), type(second)] == [OSError if lost == "raises" else RuntimeError] * 2
    assert third == 3
    await batcher.close()


async def test_too_many_are_turned_away_and_the_others_served() -> None:
    work = Work(held=True)
    batcher = Batcher(work, "test", max_waiting=2)
    first = submit(batcher, 1)
    await until_begun(work)
    waiting = submit(batcher, 2, 3)
    await asyncio.sleep(0)
    with pytest.raises(Overloaded) as refused:
        await batcher.submit(4)
    assert refused.value.retry_after == 1
    work.go.release(2)
    assert await asyncio.gather(*first, *waiting) == [2, 4, 6]
    assert work.batches == [[1], [2, 3]]
    await batcher.close()


async def test_a_caller_that_leaves_does_not_disturb_the_others() -> None:
    work = Work(held=True)
    batcher = Batcher(work, "test")
    gone_in_flight, in_flight = submit(batcher, 2, 1)
    await until_begun(work)
    waiting, gone = submit(batcher, 3, 4)
    await asyncio.sleep(0)
    gone_in_flight.cancel()
    gone.cancel()
    await asyncio.wait([gone, gone_in_flight])
    work.go.release(2)
    assert await asyncio.gather(in_flight, waiting) == [2, 6]
    assert work.batches == [[2, 1], [3]]
    await batcher.close()


async def test_a_batch_of_cancelled_calls_is_not_begun() -> None:
    work = Work(held=True)
    batcher = Batcher(work, "test")
    first = submit(batcher, 1)
    await until_begun(work)
    (gone,) = submit(batcher, 2)
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.wait([gone])
    work.go.release(1)
    assert await asyncio.gather(*first) == [2]
    work.held = False
    assert await batcher.submit(5) == 10
    assert work.batches == [[1], [5]]
    await batcher.close()


async def test_closing_answers_all_that_was_taken_and_takes_nothing_more() -> None:
    work = Work(held=True)
    batcher = Batcher(work, "test", max_batch=1)
    taken = submit(batcher, 1, 2)
    await until_begun(work)
    closing = asyncio.create_task(batcher.close())
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await batcher.submit(3)
    work.go.release(2)
    await closing
    assert [task.result() for task in taken] == [2, 4]
    assert not any(thread.name.startswith("test_") for thread in threading.enumerate())


async def test_closing_starts_what_was_just_about_to_be() -> None:
    batcher = Batcher(Work(), "test")
    (taken,) = submit(batcher, 1)
    await asyncio.sleep(0)  # it is taken, and its batch has not begun
    await batcher.close()
    assert await taken == 2


async def test_a_group_of_one_gets_the_interpreter_soon_and_a_larger_one_as_usual() -> None:
    intervals: list[float] = []

    def work(items: list[int]) -> list[int]:
        intervals.append(sys.getswitchinterval())
        return items

    usual = sys.getswitchinterval()
    batcher = Batcher(work, "test", PromptThreads())
    await batcher.submit(1)
    await asyncio.gather(*submit(batcher, 1, 2))
    assert intervals == [pytest.approx(SWITCH_SECONDS), pytest.approx(usual)]
    assert sys.getswitchinterval() == usual
    await batcher.close()


async def submit_of(batcher: Batcher[int, int], user: str, *items: int) -> list["asyncio.Task[int]"]:
    tasks = [asyncio.create_task(batcher.submit(item, user)) for item in items]
    await asyncio.sleep(0)
    return tasks


async def test_users_take_turns_where_more_wait_than_a_batch_holds() -> None:
    work = Work(held=True)
    batcher = Batcher(work, "test", max_batch=3)
    calls = submit(batcher, 0)
    await until_begun(work)
    calls += await submit_of(batcher, "greedy", 1, 2, 3, 4, 5)
    calls += await submit_of(batcher, "modest", 6, 7)
    work.go.release(4)
    await asyncio.gather(*calls)
    assert work.batches == [[0], [1, 6, 2], [7, 3, 4], [5]]
    await batcher.close()


async def test_one_user_fills_half_of_the_places_and_others_still_find_one() -> None:
    work = Work(held=True)
    batcher = Batcher(work, "test", max_waiting=4)
    calls = submit(batcher, 0)
    await until_begun(work)
    calls += await submit_of(batcher, "greedy", 1, 2)
    with pytest.raises(TooManyWaiting):
        await batcher.submit(3, "greedy")
    calls += await submit_of(batcher, "modest", 4)
    with pytest.raises(TooManyWaiting):
        await batcher.submit(5, "greedy")
    work.go.release(1)
    await until_begun(work)  # all places are free again
    calls += await submit_of(batcher, "greedy", 6, 7)
    work.go.release(2)
    assert await asyncio.gather(*calls) == [0, 2, 4, 8, 12, 14]
    await batcher.close()

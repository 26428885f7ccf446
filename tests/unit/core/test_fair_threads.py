"""Threads by turns of users: who gets the next one, how many one user holds, and what becomes of calls that leave."""

import asyncio
import random
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

import pytest

from app.core import fair_threads
from app.core.fair_threads import CallerGone, FairThreads
from app.errors import InvalidToken, Overloaded, TooManyWaiting

pytestmark = pytest.mark.anyio
SECONDS = 10
GREEDY, MODEST = "greedy", "modest"


class Work:
    """Calls that each hold a thread until they are let go; `begun` has their names in the order of their turns."""

    def __init__(self, threads: FairThreads) -> None:
        self.threads = threads
        self.begun: list[str] = []
        self.most: Counter[str] = Counter()
        self._running: Counter[str] = Counter()
        self._gates: dict[str, threading.Event] = {}
        self._lock = threading.Lock()

    def call(self, user: str, name: str = "", *, is_costly: bool = False) -> "asyncio.Task[str]":
        name = name or user
        gate = self._gates[name] = threading.Event()
        kinds = (user, "all", *((f"costly {user}", "costly") if is_costly else ()))

        def work() -> str:
            with self._lock:
                self.begun.append(name)
                self._running.update(kinds)
                self.most |= self._running
            assert gate.wait(SECONDS)
            with self._lock:
                self._running.subtract(kinds)
            return name

        return asyncio.create_task(self.threads.run(user, work, is_costly=is_costly))

    def let_go(self, *names: str) -> None:
        for name in names or self._gates:
            self._gates[name].set()

    async def until(self, *begun: str) -> None:
        await until(lambda: len(self.begun) >= len(begun))
        assert sorted(self.begun) == sorted(begun)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(SECONDS):
        while not condition():  # noqa: ASYNC110 (threads set it)
            await asyncio.sleep(0.001)


def work_on(threads: int, waiting: int = 100, in_all: int = 1000) -> Work:
    return Work(FairThreads(threads, waiting, in_all))


async def test_a_user_leaves_one_thread_free_and_another_begins_at_once() -> None:
    work = work_on(4)
    calls = [work.call(GREEDY, f"g{number}") for number in range(16)]
    await work.until("g0", "g1", "g2", "g3")
    calls.append(work.call(MODEST))
    await work.until("g0", "g1", "g2", "g3", MODEST)
    work.let_go()
    await asyncio.gather(*calls)
    assert work.most[GREEDY] == 4


async def test_beside_others_a_user_holds_half_of_the_threads_and_all_again_afterwards() -> None:
    work = work_on(3)
    other = work.call(MODEST)
    calls = [work.call(GREEDY, f"g{number}") for number in range(5)]
    await work.until(MODEST, "g0", "g1")
    assert work.threads.waiting == 3
    work.let_go("g0")
    await work.until(MODEST, "g0", "g1", "g2")
    work.let_go(MODEST)
    await other
    await work.until(MODEST, "g0", "g1", "g2", "g3")
    work.let_go()
    await asyncio.gather(*calls)
    assert work.most[GREEDY] == 3


async def test_waiting_calls_begin_by_turns_of_users_not_by_arrival() -> None:
    work = work_on(1)
    calls = [work.call("first"), work.call("second")]
    await work.until("first", "second")
    calls += [work.call(GREEDY, f"g{number}") for number in range(3)]
    calls += [work.call(MODEST, "m0"), work.call(MODEST, "m1"), work.call("third", "t0")]
    await until(lambda: work.threads.waiting == 6)
    work.let_go("first")
    for begun in ("g0", "m0", "t0", "g1", "m1", "g2"):
        await until(lambda begun=begun: begun in work.begun)
        work.let_go(begun)
    work.let_go()
    await asyncio.gather(*calls)
    assert set(work.begun[:2]) == {"first", "second"}  # in two threads at once
    assert work.begun[2:] == ["g0", "m0", "t0", "g1", "m1", "g2"]


async def test_a_user_has_one_costly_call_and_all_users_half_of_the_threads() -> None:
    work = work_on(4)
    calls = [work.call(user, f"{user}{number}", is_costly=True) for user in "abc" for number in range(2)]
    await work.until("a0", "b0")
    calls += [work.call(user, f"plain {user}") for user in "ab"]
    await work.until("a0", "b0", "plain a", "plain b")  # and one thread is still free
    work.let_go()
    await asyncio.gather(*calls)
    assert work.most["costly"] == 2
    assert {work.most[f"costly {user}"] for user in "abc"} == {1}
    assert work.most["all"] <= 4


async def test_a_single_thread_serves_costly_calls_too() -> None:
    work = work_on(1)
    calls = [work.call(GREEDY, "costly", is_costly=True), work.call(MODEST)]
    work.let_go()
    assert await asyncio.gather(*calls) == ["costly", MODEST]


async def test_calls_of_one_user_beyond_the_bound_are_refused_and_others_wait() -> None:
    work = work_on(1, waiting=3)
    calls = [work.call(GREEDY, f"g{number}") for number in range(4)]
    await work.until("g0")
    with pytest.raises(TooManyWaiting) as refused:
        await work.call(GREEDY, "too many")
    assert refused.value.retry_after == 1
    calls.append(work.call(MODEST))
    work.let_go()
    assert len(await asyncio.gather(*calls)) == 5


async def test_calls_of_all_users_beyond_the_bound_are_refused() -> None:
    work = work_on(1, in_all=2)
    calls = [work.call(user) for user in "abcd"]
    await work.until("a", "b")
    with pytest.raises(Overloaded):
        await work.call("e")
    work.let_go()
    assert await asyncio.gather(*calls) == ["a", "b", "c", "d"]


async def test_a_cancelled_call_leaves_the_queue_and_begins_never() -> None:
    work = work_on(1)
    first, gone, last = (work.call(GREEDY, name) for name in ("first", "gone", "last"))
    await work.until("first")
    gone.cancel()
    with suppress(asyncio.CancelledError):
        await gone
    assert work.threads.waiting == 1
    work.let_go()
    assert await asyncio.gather(first, last) == ["first", "last"]
    assert work.begun == ["first", "last"]


async def test_a_call_that_is_cancelled_as_it_gets_its_turn_passes_the_thread_on() -> None:
    work = work_on(1)
    other, first, gone, last = (work.call(name) for name in ("other", "a", "b", "c"))
    await work.until("other", "a")
    work.let_go("a", "c")
    assert await first == "a"
    gone.cancel()  # its thread is free, and it has not resumed yet
    work.let_go()
    with suppress(asyncio.CancelledError):
        await gone
    assert await asyncio.gather(other, last) == ["other", "c"]


async def test_a_call_whose_caller_is_gone_leaves_the_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fair_threads, "LOOK_SECONDS", 0.001)
    work = work_on(1)
    first = [work.call(GREEDY), work.call("another")]
    await work.until(GREEDY, "another")

    async def is_gone() -> bool:
        return True

    with pytest.raises(CallerGone):
        await work.threads.run(MODEST, lambda: work.begun.append("never"), is_gone=is_gone)
    assert work.threads.waiting == 0
    work.let_go()
    await asyncio.gather(*first)
    assert len(work.begun) == 2


async def test_rights_are_checked_again_after_a_long_wait_and_a_refusal_frees_the_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fair_threads, "LOOK_SECONDS", 0.001)
    work = work_on(1)
    looks = 0

    async def is_gone() -> bool:
        nonlocal looks
        looks += 1
        return False

    async def refuse() -> None:
        raise InvalidToken

    def never() -> None:
        work.begun.append("never")

    first = [work.call(GREEDY), work.call("another")]
    await work.until(GREEDY, "another")
    waiting = asyncio.create_task(work.threads.run(MODEST, never, is_gone=is_gone, check_again=refuse))
    await until(lambda: looks > 0)
    work.let_go()
    with pytest.raises(InvalidToken):
        await waiting
    await asyncio.gather(*first)
    assert await work.threads.run(MODEST, lambda: 5, check_again=refuse) == 5  # it did not wait
    assert "never" not in work.begun


async def test_an_error_of_the_function_is_the_callers_and_frees_the_thread() -> None:
    threads = FairThreads(1, 10)

    def fail() -> None:
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        await threads.run(GREEDY, fail)
    assert await threads.run(MODEST, lambda: 1) == 1


@pytest.mark.parametrize("seed", range(20))
async def test_no_call_is_lost_and_no_bound_is_passed_whatever_comes(seed: int) -> None:
    chosen = random.Random(seed)
    number = chosen.randint(1, 6)
    threads = FairThreads(number, 1000)
    running: Counter[str] = Counter()
    most: Counter[str] = Counter()
    lock = threading.Lock()

    async def call(user: str, *, is_costly: bool) -> str:
        kinds = (user, "all", *((f"costly {user}", "costly") if is_costly else ()))

        def work() -> str:
            nonlocal most
            with lock:
                running.update(kinds)
                most |= running
            with lock:
                running.subtract(kinds)
            return user

        return await threads.run(user, work, is_costly=is_costly)

    calls = []
    for _ in range(200):
        calls.append(asyncio.create_task(call(chosen.choice("abcd"), is_costly=chosen.random() < 0.4)))
        if chosen.random() < 0.2:
            chosen.choice(calls).cancel()
        if chosen.random() < 0.3:
            await asyncio.sleep(0)
    async with asyncio.timeout(SECONDS):
        await asyncio.gather(*calls, return_exceptions=True)
    assert most["all"] <= number + 1
    assert max(most[user] for user in "abcd") <= number
    assert most["costly"] <= max(1, number // 2)
    assert max(most[f"costly {user}"] for user in "abcd") <= 1
    assert threads.waiting == 0
    assert not threads._users, "users without calls are forgotten"

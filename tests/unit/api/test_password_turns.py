"""Requests that hash passwords come by turns."""

import asyncio

import pytest

from app.api.http import password_limits
from app.api.http.password_limits import PasswordTurns
from app.errors import Overloaded

pytestmark = pytest.mark.anyio


class Line:
    """Callers of one `PasswordTurns`; `admitted` names them in the order of their turns. A caller holds its turn until `end`."""

    def __init__(self, at_once: int = 1) -> None:
        self.turns = PasswordTurns(at_once)
        self.admitted: list[str] = []
        self._ends: dict[str, asyncio.Event] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def come(self, *names: str) -> None:
        """A name's first letter is the key."""
        for name in names:
            self._ends[name] = asyncio.Event()
            self._tasks[name] = asyncio.ensure_future(self._hold(name))
        await settle()

    async def end(self, name: str) -> None:
        self._ends[name].set()
        await self._tasks[name]
        await settle()

    async def cancel(self, name: str) -> None:
        self._tasks[name].cancel()
        with pytest.raises(asyncio.CancelledError):
            await self._tasks[name]
        await settle()

    async def _hold(self, name: str) -> None:
        async with self.turns.turn(name[0]):
            self.admitted.append(name)
            await self._ends[name].wait()


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_keys_take_turns_and_callers_of_a_key_come_in_order() -> None:
    line = Line()
    await line.come("a1", "a2", "a3", "a4", "b1", "b2", "c1")
    for name in ("a1", "a2", "b1", "c1", "a3", "b2", "a4"):
        assert line.admitted[-1] == name
        await line.end(name)
    await line.come("d1")
    assert line.admitted[-1] == "d1"
    await line.end("d1")


async def test_as_many_hold_a_turn_as_are_admitted_at_once() -> None:
    line = Line(at_once=2)
    await line.come("a1", "a2", "a3")
    assert line.admitted == ["a1", "a2"]
    await line.end("a2")
    assert line.admitted == ["a1", "a2", "a3"]
    for name in ("a1", "a3"):
        await line.end(name)


async def test_who_leaves_the_line_takes_no_turn() -> None:
    line = Line()
    await line.come("a1", "b1", "c1")
    await line.cancel("b1")
    await line.end("a1")
    assert line.admitted == ["a1", "c1"]
    await line.cancel("c1")
    await line.come("d1")
    assert line.admitted[-1] == "d1"
    await line.end("d1")


async def test_a_turn_that_is_given_to_who_has_left_goes_to_the_next() -> None:
    line = Line()
    async with line.turns.turn("a"):
        await line.come("b1", "c1")
    await line.cancel("b1")  # in the same moment in which its turn came
    assert line.admitted == ["c1"]
    await line.end("c1")


async def test_too_many_callers_are_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(password_limits, "MAX_WAITING_OF_ONE", 2)
    monkeypatch.setattr(password_limits, "MAX_WAITING", 3)
    line = Line()
    await line.come("a1", "a2", "a3")
    for name, waiting in (("a", ["b1"]), ("b", [])):
        with pytest.raises(Overloaded):
            async with line.turns.turn(name):
                raise AssertionError("admitted")
        await line.come(*waiting)
    for name in ("a1", "a2", "b1", "a3"):
        await line.end(name)
    assert line.admitted == ["a1", "a2", "b1", "a3"]


async def test_a_failed_caller_passes_its_turn_on() -> None:
    line = Line()

    async def fail() -> None:
        async with line.turns.turn("a"):
            await line.come("b1")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    await line.end("b1")
    assert line.admitted == ["b1"]

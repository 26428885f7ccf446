"""Bytes of answers: pages of large tasks, read on several connections, and held by clients that do not read."""

import asyncio
from uuid import UUID

import pytest

from app.db.listing import MAX_PAGE_BYTES
from app.db.session import SessionLocal
from tests.load.duel import BOUND, BUSY_BOUND, Duel
from tests.load.greedy import Side
from tests.performance.wire import Connection, Request
from tests.support.accounts import API
from tests.support.settings import settings
from tests.support.tasks import new_task

READERS, HOLDERS = 4, 10
TASKS, ARGUMENTS = 40, 250_000
# An answer in the making has the rows, the models and the text of a page.
MIB_A_PAGE = 8


async def reads(side: Side) -> None:
    await side.repeat(Request("GET", f"{API}/tasks/?limit=200", token=side.token), READERS)


async def holds(side: Side) -> None:
    """Ask for pages, and read nothing but the head of each answer."""
    await side.hold(Request("GET", f"{API}/tasks/?limit=200", token=side.token), HOLDERS)


@pytest.fixture(scope="module")
def filled(duel: Duel) -> Duel:
    user = UUID(duel.greedy.get(f"{API}/users/me").json()["id"])
    with settings(duel.stack.settings), SessionLocal() as db:
        for _ in range(TASKS):
            new_task(db, user, kwargs={"x": "y" * ARGUMENTS})
    return duel


def test_large_pages_leave_others_the_event_loop(filled: Duel) -> None:
    seen = filled.compare(reads, filled.modest_get(), bound=BUSY_BOUND)
    assert seen.taken["200"] > seen.rounds, str(seen)
    assert seen.ratio <= BUSY_BOUND, str(seen)


@pytest.mark.full
def test_large_pages_that_nobody_reads_hold_little_memory(filled: Duel) -> None:
    seen = filled.compare(holds, filled.modest_get())
    assert seen.taken["200"] == seen.rounds * HOLDERS, str(seen)
    assert seen.ratio <= BOUND, str(seen)
    assert seen.peak_mib - seen.base_mib < MIB_A_PAGE * HOLDERS, str(seen)


async def _page(side: Side) -> int:
    connection = Connection(side.address)
    answer = await connection.ask(Request("GET", f"{API}/tasks/?limit=200", token=side.token))
    await connection.close()
    return len(answer.body)


def test_a_page_ends_at_a_mebibyte(filled: Duel) -> None:
    side = Side(filled.address, filled.token(greedy=True))
    assert ARGUMENTS < asyncio.run(_page(side)) <= MAX_PAGE_BYTES

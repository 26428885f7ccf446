"""The event loop: bodies that take long to read, parse or refuse, from strangers."""

import asyncio

import pytest

from tests.load.duel import BUSY_BOUND, Duel
from tests.load.greedy import Side
from tests.performance.wire import Request
from tests.support.accounts import API

CONNECTIONS = 2
# As much as MAX_BODY_BYTES and the limit of a route without a token allow.
LARGE, SMALL = 2 * 1024 * 1024 - 1024, 16 * 1024 - 64


def unknown_fields(size: int) -> bytes:
    return b"{" + b",".join(b'"k%06d":1' % number for number in range(size // 12)) + b"}"


async def registers_with_unknown_fields(side: Side) -> None:
    """Nobody's requests, one of them as large as any body may be."""
    requests = [Request("POST", f"{API}/auth/register", unknown_fields(size)) for size in (LARGE, SMALL)]
    await asyncio.gather(*(side.repeat(request) for request in requests))


async def submits_with_a_bad_token(side: Side) -> None:
    body = b'{"args":[' + b"{}," * (LARGE // 3 - 100) + b"{}]}"
    await side.repeat(Request("POST", f"{API}/tasks/", body, token="bad"), CONNECTIONS)


def test_strangers_who_register_leave_others_alone(duel: Duel) -> None:
    seen = duel.compare(registers_with_unknown_fields, duel.modest_get(), bound=BUSY_BOUND)
    assert seen.taken["413"] > 0, str(seen)
    assert seen.taken["422"] > 0, str(seen)
    assert seen.ratio <= BUSY_BOUND, str(seen)


@pytest.mark.full
def test_strangers_with_a_bad_token_leave_others_alone(duel: Duel) -> None:
    seen = duel.compare(submits_with_a_bad_token, duel.modest_get(), bound=BUSY_BOUND)
    assert seen.taken["401"] > 0, str(seen)
    assert seen.ratio <= BUSY_BOUND, str(seen)

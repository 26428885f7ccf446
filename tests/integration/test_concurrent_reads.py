"""More readers at once than threads and connections: all are answered, none waits for another's thread or connection."""

from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.support.accounts import bearer
from tests.support.stack import Stack

READERS = 32
READS = 160
SECONDS = 60


@pytest.mark.parametrize("path", ["/tasks/", "/tasks/count", "/tasks/types", "/users/me"])
def test_many_readers_are_all_answered(stack: Stack, path: str) -> None:
    # Two connections for four threads: who holds one while it waits for a thread soon runs the others into the pool's
    # time limit, which is a 503.
    stack.server(env={"DATABASE_POOL_SIZE": "1"})
    _, token = stack.make_user()
    limits = httpx.Limits(max_connections=READERS)
    with (
        httpx.Client(base_url=stack.url, headers=bearer(token), limits=limits, timeout=SECONDS) as client,
        ThreadPoolExecutor(READERS) as readers,
    ):
        answers = list(readers.map(lambda _: client.get(f"/api/v1{path}"), range(READS)))
    assert [answer.status_code for answer in answers] == [200] * READS

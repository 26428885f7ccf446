"""What `/readyz` costs where many ask at the same time."""

import asyncio
import threading

import pytest

from app.services import health_service as module
from app.services.health_service import OK, HealthService


def test_all_who_ask_at_once_get_the_answer_of_one_run(monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[int] = []
    begun, goes_on = threading.Event(), threading.Event()

    def migrations() -> str:
        runs.append(1)
        begun.set()
        goes_on.wait(5)
        return OK

    for name in ("check_database", "check_broker"):
        monkeypatch.setattr(module, name, lambda: OK)
    health = HealthService()

    async def ask() -> list[dict[str, str]]:
        asked = [asyncio.ensure_future(health.readiness(migrations)) for _ in range(50)]
        assert await asyncio.to_thread(begun.wait, 5)
        asked[0].cancel()  # one that no longer waits keeps nobody else from an answer
        goes_on.set()
        return list(await asyncio.gather(*asked[1:]))

    answers = asyncio.run(ask())
    assert (len(runs), len(answers)) == (1, 49)
    assert all(answer == dict.fromkeys(("database", "migrations", "broker"), OK) for answer in answers)
    asyncio.run(health.readiness(migrations))
    assert len(runs) == 2, "the next one gets an answer of its own"

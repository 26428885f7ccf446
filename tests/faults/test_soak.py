"""Random faults under a mixed load: whatever was answered 201 ends, and every rule of the witness holds.

The seed is printed; SOAK_SEED=… replays its faults in their order, SOAK_SECONDS=… makes it as long as one likes.
"""

import os
import secrets
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.databases import ENGINE
from tests.support.faults.broker_server import BrokerServer
from tests.support.faults.engines import database_server_of, needs_server
from tests.support.faults.proxy import TcpProxy
from tests.support.faults.scene import Scene
from tests.support.faults.soak import FREEZING, NO_PAUSE, PAUSE, SETTINGS, Pause, Soak
from tests.support.services import Services

pytestmark = needs_server

Soaks = Callable[..., Soak]
# The long ones: of each engine's faults PostgreSQL has twice as many. Those of processes and of the broker are the same on all.
PART = 1.0 if ENGINE == "postgresql" else 0.5


@pytest.fixture
def soak(scene: Callable[..., Scene], own_services: Services, tmp_path: Path) -> Iterator[Soaks]:
    """`soak(seed, without, pause)`: servers of its own, behind proxies that API, workers and beat go through and the witness does not."""
    with ExitStack() as opened:

        def build(seed: int, without: Collection[str], pause: Pause) -> Soak:
            broker = opened.enter_context(BrokerServer(tmp_path / "broker"))
            to_broker = opened.enter_context(TcpProxy("127.0.0.1", broker.port))
            to_database = opened.enter_context(TcpProxy("127.0.0.1", database_server_of(own_services).port))
            built = scene(on=own_services, **SETTINGS)
            built.stack.settings["DATABASE_URL"] = to_database.through(built.stack.database_url)
            built.stack.settings["CELERY_BROKER_URL"] = to_broker.through(broker.url)
            return Soak(built, own_services, broker, to_database, to_broker, seed, without, pause)

        yield build


def run(
    soak: Soaks, seconds: float, capsys: pytest.CaptureFixture[str], without: Collection[str] = (), pause: Pause = PAUSE
) -> None:
    seed = int(os.environ.get("SOAK_SEED") or secrets.randbelow(1_000_000))
    seconds = float(os.environ.get("SOAK_SECONDS") or seconds)
    with capsys.disabled():
        print(f"\nsoak: SOAK_SEED={seed}, {seconds:.0f} s", flush=True)  # noqa: T201 (what replays it)
    told = soak(seed, without, pause).run(seconds)
    with capsys.disabled():
        print(f"soak: {told}", flush=True)  # noqa: T201


@pytest.mark.timeout(600 + 3 * float(os.environ.get("SOAK_SECONDS") or 0))
def test_half_a_minute_of_random_faults(soak: Soaks, capsys: pytest.CaptureFixture[str]) -> None:
    run(soak, 30, capsys)


@pytest.mark.full
@pytest.mark.timeout(1200 + 3 * float(os.environ.get("SOAK_SECONDS") or 0))
def test_minutes_of_random_faults_without_a_pause(soak: Soaks, capsys: pytest.CaptureFixture[str]) -> None:
    run(soak, 120 * PART, capsys, pause=NO_PAUSE)


@pytest.mark.full
@pytest.mark.timeout(1200 + 3 * float(os.environ.get("SOAK_SECONDS") or 0))
def test_minutes_of_kills_with_never_one_body_too_many(soak: Soaks, capsys: pytest.CaptureFixture[str]) -> None:
    run(soak, 180 * PART, capsys, FREEZING, NO_PAUSE)

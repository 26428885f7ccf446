"""Live events with many streams open on one API process: against Redis pub/sub itself, over a restart of it as well."""

import asyncio
import resource
import time
from itertools import chain
from typing import Any

import redis.asyncio

from app.core.api_process import TRIM_SECONDS
from tests.performance.bench import QUIET, Bench, finish, run
from tests.performance.figures import percentile
from tests.performance.findings import Findings
from tests.performance.goals import Goal
from tests.performance.processes import memory
from tests.performance.scenario import API, Account, task
from tests.performance.sse import Stream
from tests.performance.wire import ask_once
from tests.support.bounds import bounded
from tests.support.loopback import loopback
from tests.support.stack import Stack

PAUSE = 0.25  # above the interval in which progress is coalesced: each report is written at once
OPENING = 32  # streams that are opened at the same time
FILES = 8192
CHANNEL = "measured"
SECONDS = 120.0
TERMINAL = {"succeeded", "failed", "revoked"}
# Until the API process has given back what a login or many requests at once have taken for a moment.
TRIMMED = TRIM_SECONDS + 1
EVENT, MEMORY, RESTART = "live: progress → event at a client", "live: memory of a stream", "live: lost terminal events"


def measure(bench: Bench) -> Findings:
    findings = Findings("live")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(FILES, hard), hard))  # the server inherits it
    streams, requests = {"STREAMS_PER_USER": FILES}, {"REQUESTS_PER_USER": FILES}
    with bench.new_stack(**bounded({"app.live.watcher": streams, "app.api.http.peers": requests})) as stack:
        stack.server(options=QUIET)
        account = bench.sign_in(stack)
        with bench.worker(stack):
            run(_Live(bench, stack, account, findings).measure())
    return findings


class _Live:
    def __init__(self, bench: Bench, stack: Stack, account: Account, findings: Findings) -> None:
        self._bench, self._stack, self._findings = bench, stack, findings
        self._address, self._account = loopback(stack.url), account

    async def measure(self) -> None:
        open_ones = await self._many()
        rounds = [(await self._ticks(), await self._published()) for _ in range(self._bench.size.rounds)]
        self._tell(rounds)
        await self._over_a_restart()
        await asyncio.gather(*(stream.close() for stream in open_ones))

    async def _many(self) -> list[Stream]:
        """Each on a task of its own that does nothing for now."""
        pid, count = self._stack.server().pid, self._bench.size.streams
        ids = [await self._create("measured.noop", delay_seconds=86_400) for _ in range(count)]
        await asyncio.sleep(TRIMMED)
        before, found = memory(pid)["rss"], []
        for start in range(0, count, OPENING):
            chosen = ids[start : start + OPENING]
            found += await asyncio.gather(*(self._watch(task_id, lambda *_: None) for task_id in chosen))
        await asyncio.sleep(TRIMMED)
        kilobytes = 1024 * (memory(pid)["rss"] - before) / count
        note = f"{count:,} streams open, by the difference in RSS"
        self._findings.compare(MEMORY, "—", Goal(at_most=30, unit="KB"), [kilobytes], note)
        return found

    async def _ticks(self) -> list[float]:
        """Seconds from the body's report to the event at a client, sorted."""
        took: list[float] = []

        def note(task: dict[str, Any], came: float) -> None:
            reported = (task.get("progress_detail") or {}).get("time")
            if task["status"] == "running" and reported is not None:
                took.append(came - reported)

        task_id = await self._create("measured.tick", self._bench.size.ticks, PAUSE)
        stream = await self._watch(task_id, note)
        assert stream.reading is not None
        await asyncio.wait_for(stream.reading, SECONDS + self._bench.size.ticks * PAUSE)
        await stream.close()
        return sorted(took)

    async def _published(self) -> list[float]:
        """The same of Redis alone, at the same pace."""
        took: list[float] = []
        async with redis.asyncio.Redis.from_url(self._stack.broker_url) as connection, connection.pubsub() as channel:
            await channel.subscribe(CHANNEL)
            words = [self._stack.broker_url, CHANNEL, str(self._bench.size.ticks), str(PAUSE)]
            publisher = self._bench.part("publisher", ["tests.performance.comparators.publisher", *words], {})
            async for message in channel.listen():
                if message["type"] == "message":
                    took.append(time.time() - float(message["data"]))
                if len(took) == self._bench.size.ticks:
                    break
        await asyncio.to_thread(finish, publisher)
        return sorted(took)

    def _tell(self, rounds: list[tuple[list[float], list[float]]]) -> None:
        size, streams = self._bench.size, f"{self._bench.size.streams:,} streams open"
        if any(len(ours) < size.ticks // 2 for ours, _ in rounds):
            self._findings.errors.append(f"events of {[len(ours) for ours, _ in rounds]} of {size.ticks} reports came")
        above = [1000 * (percentile(ours, 0.5) - percentile(theirs, 0.5)) for ours, theirs in rounds]
        worst = [1000 * percentile(ours, 0.99) for ours, _ in rounds]
        middles = [1000 * percentile(sorted(chain(*side)), 0.5) for side in zip(*rounds, strict=True)]
        note = f"{streams}; p50 of {middles[0]:.1f} against {middles[1]:.1f} ms"
        against = "Redis publish → subscriber"
        rows = (("p50, above it", Goal(at_most=10, unit="ms"), above), ("p99", Goal(at_most=100, unit="ms"), worst))
        for name, goal, values in rows:
            self._findings.compare(f"{EVENT}, {name}", against, goal, values, note)
        self._findings.latencies = {
            "progress → event": [value for ours, _ in rounds for value in ours],
            "Redis pub/sub": [value for _, theirs in rounds for value in theirs],
        }

    async def _over_a_restart(self) -> None:
        """Tasks that end while the broker is away, or soon after: does every stream hear of it?"""
        ended: set[str] = set()

        def note(task: dict[str, Any], _: float) -> None:
            if task["status"] in TERMINAL:
                ended.add(task["id"])

        count = self._bench.size.restarted
        ids = [await self._create("measured.nap", 0.5) for _ in range(count)]
        streams = await asyncio.gather(*(self._watch(task_id, note) for task_id in ids))
        valkey = self._bench.services.valkey
        await asyncio.to_thread(valkey.stop)
        await asyncio.sleep(1)  # long enough for a running task to end
        await asyncio.to_thread(valkey.start)
        await asyncio.wait([stream.reading for stream in streams if stream.reading], timeout=SECONDS)
        await asyncio.gather(*(stream.close() for stream in streams))
        lost = len(set(ids) - ended)
        what = f"{RESTART} of {count} over a restart of Redis"
        self._findings.compare(what, "—", Goal(at_most=0, unit="lost"), [lost])

    async def _watch(self, task_id: str, note: Any) -> Stream:
        return await Stream(note).open(self._address, f"{API}/tasks/{task_id}/events", self._account.token)

    async def _create(self, name: str, *args: Any, **fields: Any) -> str:
        # A connection that is kept would be idle for longer than the server keeps it.
        answer = await ask_once(self._address, self._account.submit(task(name, *args, **fields)))
        assert answer.status == 201, answer.body[:200]
        return str(answer.json()["id"])

"""So many clients, each with a connection of its own, ask until a number of answers or a time is reached."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Self

from tests.performance.wire import Answer, Connection, Request
from tests.support.loopback import Address

MAX_FAILURES_IN_A_ROW = 20

MakeRequest = Callable[[int], Request]


@dataclass
class Measured:
    """Latencies in seconds of the answers that were expected; everything else is an error and counted by its kind."""

    latencies: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    answers: list[Answer] = field(default_factory=list)

    @property
    def per_second(self) -> float:
        return len(self.latencies) / self.seconds if self.seconds else 0.0

    def add(self, other: "Measured") -> None:
        self.latencies += other.latencies
        self.errors += other.errors
        self.seconds += other.seconds
        self.answers += other.answers


@dataclass(frozen=True)
class Endpoint:
    """What is asked; `make(n)` is the n-th request. `keep` keeps the answers' bodies; `share` asks fewer of slow ones."""

    name: str
    make: MakeRequest
    expected: int = 200
    keep: bool = False
    share: float = 1.0

    @classmethod
    def of(cls, name: str, request: Request, expected: int = 200, *, keep: bool = False) -> Self:
        """One and the same request, again and again."""
        return cls(name, lambda _: request, expected, keep)


async def measure(address: Address, endpoint: Endpoint, clients: int, requests: int, seconds: float) -> Measured:
    """Bounded both ways: at most `requests` of them, none begun after `seconds`."""
    result = Measured()
    numbers = iter(range(requests))
    begun = time.perf_counter()
    deadline = begun + seconds
    await asyncio.gather(*(_client(address, endpoint, numbers, deadline, result) for _ in range(clients)))
    result.seconds = time.perf_counter() - begun
    return result


async def _client(
    address: Address, endpoint: Endpoint, numbers: Iterator[int], deadline: float, result: Measured
) -> None:
    connection = Connection(address)
    failures = 0
    for number in numbers:
        if time.perf_counter() >= deadline or failures >= MAX_FAILURES_IN_A_ROW:
            break
        failures = 0 if await _one(connection, endpoint, number, result) else failures + 1
    await connection.close()


async def _one(connection: Connection, endpoint: Endpoint, number: int, result: Measured) -> bool:
    request = endpoint.make(number)
    begun = time.perf_counter()
    try:
        answer = await connection.ask(request)
    except (OSError, ValueError, EOFError, TimeoutError) as error:
        result.errors[type(error).__name__] += 1
        return False
    if answer.status != endpoint.expected:
        result.errors[f"HTTP {answer.status}"] += 1
        return False
    result.latencies.append(time.perf_counter() - begun)
    if endpoint.keep:
        result.answers.append(answer)
    return True

"""An answer's head goes out with its body, and by itself where the body takes its time."""

import asyncio
from typing import Any

import pytest

from app.api.http.joined_writes import JoinedWrites


class Transport:
    def __init__(self) -> None:
        self.sent: list[bytes | str] = []

    def write(self, data: bytes) -> None:
        self.sent.append(data)

    def close(self) -> None:
        self.sent.append("closed")


def answered(*steps: bytes | str) -> list[bytes | str]:
    """What is sent when these are written, "wait" being a turn of the loop."""

    async def answer() -> Any:
        transport = Transport()
        joined = JoinedWrites(transport, asyncio.get_running_loop())  # type: ignore[arg-type]
        for step in steps:
            if isinstance(step, bytes):
                joined.write(step)
            elif step == "close":
                joined.close()
            else:
                await asyncio.sleep(0)
        await asyncio.sleep(0)
        return transport.sent

    return list(asyncio.run(answer()))


@pytest.mark.parametrize(
    ("steps", "sent"),
    [
        pytest.param([b"head", b"body"], [b"headbody"], id="a small answer is one write"),
        pytest.param([b"head", b"first", b"second"], [b"headfirst", b"second"], id="the rest is sent as it comes"),
        pytest.param([b"head", "wait", b"event"], [b"head", b"event"], id="a stream's head does not wait for events"),
        pytest.param([b"head"], [b"head"], id="an answer without a body leaves too"),
        pytest.param([b"head", "close"], [b"head", "closed"], id="closing loses nothing"),
    ],
)
def test_writes(steps: list[bytes | str], sent: list[bytes | str]) -> None:
    assert answered(*steps) == sent

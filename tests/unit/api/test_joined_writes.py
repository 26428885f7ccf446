"""An answer's head goes out with its body, and by itself where the body takes its time."""

import asyncio
from typing import Any

from app.api.http.protocol import JoinedWrites


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
        joined = JoinedWrites(transport, asyncio.get_running_loop())
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


def test_a_small_answer_is_one_write_and_the_rest_is_sent_as_it_comes() -> None:
    assert answered(b"head", b"body") == [b"headbody"]
    assert answered(b"head", b"first", b"second") == [b"headfirst", b"second"]


def test_a_head_waits_neither_for_events_nor_for_a_body_that_there_is_not() -> None:
    assert answered(b"head", "wait", b"event") == [b"head", b"event"]
    assert answered(b"head") == [b"head"]


def test_closing_loses_nothing() -> None:
    assert answered(b"head", "close") == [b"head", "closed"]

"""dramatiq on Redis: `dramatiq on_dramatiq --processes 2 --threads 1`. A message is gone once its task has ended."""

import os

import dramatiq
import timed
from dramatiq.brokers.redis import RedisBroker

dramatiq.set_broker(RedisBroker(url=os.environ["PEER_BROKER"]))


@dramatiq.actor
def noop() -> None:
    """Nothing."""


@dramatiq.actor
def stamp(path: str) -> None:
    timed.note_time(path)


submit_noop, submit_stamp = noop.send, stamp.send

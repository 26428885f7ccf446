"""huey on Redis: `huey_consumer on_huey.huey -w 2 -k process`. A result is kept until it is read, and None is none."""

import os

import timed
from huey import RedisHuey

huey = RedisHuey("peer", url=os.environ["PEER_BROKER"])


@huey.task()
def noop() -> None:
    """Nothing."""


@huey.task()
def stamp(path: str) -> None:
    timed.note_time(path)


submit_noop, submit_stamp = noop, stamp

"""Hints: after the commit, API processes with open streams are told which tasks have changed, and read the rows.

While no API process listens nothing is sent, and a change costs the read of one byte. A thread asks Redis once a second
whether any does (in the API, in a worker's parent, in beat) and notes the answer in memory that pool children share.
A hint that is not sent, or gets lost, costs seconds: `app/live/watcher.py` compares versions.

First comes the channel of Redis, which senders and listeners share.
"""

import logging
import mmap
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any
from uuid import UUID

from kombu.exceptions import OperationalError
from redis import RedisError
from sqlalchemy import Connection
from sqlalchemy.orm import Session

from app.core.fork import PerProcess
from app.core.task_bodies import ServiceThread
from app.db.background import Background
from app.db.outage import first_line
from app.db.transactions import after_commit
from app.messaging.application import celery_app
from app.messaging.broker import BrokerLink

logger = logging.getLogger(__name__)

CHANNEL_NAME = "task_service:live"
# A listening process renews the key every second.
LISTENING_SECONDS = 5
_ID_BYTES = 16
# In one message; more ids go into the next one.
MOST_IDS = 500


def pack_ids(task_ids: Iterable[UUID]) -> bytes:
    return b"".join(task_id.bytes for task_id in task_ids)


def unpack_ids(payload: Any) -> list[UUID]:
    """Return the ids of a message; none where its form is wrong. A forged one has the receiver read rows, no more."""
    if not isinstance(payload, bytes) or len(payload) % _ID_BYTES or len(payload) > MOST_IDS * _ID_BYTES:
        return []
    return [UUID(bytes=payload[at : at + _ID_BYTES]) for at in range(0, len(payload), _ID_BYTES)]


class Channel:
    """A connection of its own, opened at its first use. Belongs to one thread at a time.

    Each call raises within about `seconds` where Redis does not answer; `close()`, and the next one connects anew.
    """

    def __init__(self, seconds: float) -> None:
        self._link = BrokerLink(seconds)
        self._client: Any = None
        self._name = ""

    @property
    def exists(self) -> bool:
        """Return whether the broker is a Redis. Opens no connection."""
        return celery_app.conf.broker_url is not None and (
            celery_app.connection_for_write().transport.driver_type == "redis"
        )

    @property
    def client(self) -> Any:
        """The redis-py client, connected now where it is not."""
        if self._client is None:
            self._client = self._link.connection().default_channel.client
            # Channels know no databases: the number keeps deployments on one server apart.
            self._name = f"{CHANNEL_NAME}:{self._client.connection_pool.connection_kwargs.get('db', 0)}"
        return self._client

    @property
    def name(self) -> str:
        """The name of the channel, and of the key."""
        return self.client and self._name

    def publish(self, task_ids: Iterable[UUID]) -> None:
        self.client.publish(self.name, pack_ids(task_ids))

    def has_listeners(self) -> bool:
        return self.client.get(self.name) is not None

    def keep_listening(self) -> None:
        self.client.set(self.name, 1, ex=LISTENING_SECONDS)

    def subscribe(self) -> Any:
        """redis-py's PubSub."""
        heard = self.client.pubsub()
        heard.subscribe(self.name)
        return heard

    def close(self) -> None:
        self._client = None
        self._link.close()


# -- The sending of hints, in every process that changes tasks ---------------------------------------------------------

LOOK_SECONDS = 1.0
# A body never waits longer than this for Redis, and then not again before the pause is over.
SEND_SECONDS = 0.2
PAUSE_SECONDS = 5.0
STOP_SECONDS = 2.0


def changed(*task_ids: UUID) -> None:
    """Tell that these tasks have changed and are committed. Never raises an error of Redis."""
    sender = hint_sender()
    if sender.has_listeners:
        sender.put(task_ids)


def changes(db: Session | Connection, *task_ids: UUID) -> None:
    """Tell that these tasks have changed, once the session's outermost transaction has committed."""
    if task_ids and isinstance(db, Session) and hint_sender().has_listeners:
        after_commit(db, partial(changed, *task_ids))


class Sender:
    """Publishes in the thread that calls; after a failure it sends nothing for PAUSE_SECONDS."""

    def __init__(self) -> None:
        self._channel = Channel(SEND_SECONDS)
        self._lock = threading.Lock()  # in a pool of threads
        self._quiet_until = 0.0

    def send(self, task_ids: Iterable[UUID]) -> None:
        """Publish one message. Raises what a signal's handler raises, never an error of Redis."""
        with self._lock:
            if time.monotonic() < self._quiet_until:
                return
            try:
                self._channel.publish(task_ids)
            except Exception as error:
                self._channel.close()
                if not isinstance(error, RedisError | OperationalError | OSError):
                    raise  # a signal's, such as Celery's soft time limit: the body's to handle
                self._quiet_until = time.monotonic() + PAUSE_SECONDS
                logger.warning("no live events for %g s: %s", PAUSE_SECONDS, first_line(error))
            except BaseException:
                self._channel.close()  # half of an answer may still be on the way
                raise


class HintSender:
    """One in each process. Between `start` and `stop` a thread sends; else, as in a pool child, the caller does.

    `listened` is the memory of the parent process, which learns in another thread whether any API process listens.
    """

    def __init__(self, listened: memoryview | None = None) -> None:
        # Shared and anonymous: forked children see what the parent writes. Where no thread looks it stays 0.
        self._listened = memoryview(mmap.mmap(-1, mmap.PAGESIZE)) if listened is None else listened
        self._channel = Channel(1.0)
        self._sender = Sender()
        self._stopping = threading.Event()
        self._looking = ServiceThread(self._ask_on, "live-listeners")
        self._sending: Background[UUID] | None = None
        self._failed = False

    def in_child(self) -> "HintSender":
        """Return the forked child's: on the same memory, with connections of its own."""
        return HintSender(self._listened)

    @property
    def has_listeners(self) -> bool:
        """Return whether an API process listens, as Redis said a second ago."""
        return bool(self._listened[0])

    def start(self) -> None:
        """Ask Redis once a second, and send in a thread, until `stop`."""
        self._stopping.clear()
        if self._sending is None:
            self._sending = Background("live-hints", "live events: some hints are not sent", self._send_all)
        self._looking.start()

    def stop(self) -> None:
        """Stop the threads and all publishing. Waits for at most STOP_SECONDS for each."""
        if self._sending is not None:
            self._stopping.set()
            self._sending.flush(STOP_SECONDS)
            self._looking.join(STOP_SECONDS)
            self._sending = None
            self._listened[0] = 0

    def put(self, task_ids: tuple[UUID, ...]) -> None:
        """Have the thread send these; without a thread, send them now."""
        sending = self._sending
        if sending is not None:
            sending.enqueue(task_ids)
        else:
            self._sender.send(task_ids)

    def _send_all(self, changed: Iterable[UUID]) -> float:
        waiting = list(changed)
        for at in range(0, len(waiting), MOST_IDS):
            self._sender.send(waiting[at : at + MOST_IDS])
        return 0

    def _ask_on(self) -> None:
        if not self._channel.exists:
            why = "the broker is no Redis" if celery_app.conf.broker_url else "no broker is set"
            logger.info("%s: live events come from comparing versions", why)
            return
        while not self._stopping.is_set():
            self._ask()
            self._stopping.wait(LOOK_SECONDS)
        self._channel.close()

    def _ask(self) -> None:
        try:
            self._listened[0] = self._channel.has_listeners()
            self._failed = False
        except BaseException as error:  # SystemExit would end the thread without a word
            self._channel.close()
            self._listened[0] = 0
            if not isinstance(error, Exception):
                logger.exception("live events: an unexpected error, no hints are sent")
            elif not self._failed:  # redis-py's and kombu's errors share no base; all are logged
                logger.warning("live events: no answer from Redis, no hints are sent: %s", first_line(error))
            self._failed = True


hint_sender = PerProcess(HintSender, inherit=HintSender.in_child)


# -- The receiving of hints: one subscription for each API process, in a thread, while any stream is open --------------

RENEWAL_SECONDS = 1.0
# How soon it notices that it has to stop.
LISTENER_WAIT_SECONDS = 0.25
LISTENER_PAUSE_SECONDS = 0.5
LISTENER_STOP_SECONDS = 2.0
# For how long at most a Redis that has silently stopped answering goes unnoticed.
SILENT_SECONDS = 3.0


class HintListener:
    """`heard` is called from the thread with the ids of each message, `connected` after each new subscription."""

    def __init__(self, heard: Callable[[list[UUID]], None], connected: Callable[[], None]) -> None:
        self._heard, self._connected = heard, connected
        self._channel = Channel(SILENT_SECONDS)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="live-listener", daemon=True)
        self._failed = False
        # When this subscription began (monotonic seconds); None while there is none.
        self.since: float | None = None

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Returns at once: the thread ends a moment later."""
        self._stopping.set()

    def join(self) -> None:
        if self._thread.ident is not None:
            self._thread.join(LISTENER_STOP_SECONDS)

    def _run(self) -> None:
        if not self._channel.exists:
            return
        while not self._stopping.is_set():
            try:
                self._listen()
            except Exception as error:  # noqa: BLE001 (redis-py's and kombu's errors share no base; all are logged)
                if not self._failed:
                    logger.warning(
                        "live events: the broker does not answer, versions are compared: %s", first_line(error)
                    )
                self._failed = True
            self.since = None
            self._channel.close()
            self._stopping.wait(LISTENER_PAUSE_SECONDS)

    def _listen(self) -> None:
        subscription = self._channel.subscribe()
        try:
            next_renewal = 0.0
            while not self._stopping.is_set():
                if time.monotonic() >= next_renewal:
                    self._channel.keep_listening()
                    next_renewal = time.monotonic() + RENEWAL_SECONDS
                message = subscription.get_message(timeout=LISTENER_WAIT_SECONDS)
                if message is not None:
                    self._pass_on(message)
        finally:
            subscription.close()

    def _pass_on(self, message: dict[str, Any]) -> None:
        if message["type"] == "subscribe":  # also after redis-py has reconnected by itself: a message may be missed
            self._begin()
        elif message["type"] == "message" and (found := unpack_ids(message["data"])):
            self._heard(found)

    def _begin(self) -> None:
        if self._failed:
            logger.info("live events: the broker answers again")
        self._failed = False
        self.since = time.monotonic()
        self._connected()

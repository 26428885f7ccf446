"""Hears what has changed: one subscription for each API process, in a thread, only while somebody wants to know."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any
from uuid import UUID

from app.db.outage import first_line
from app.messaging.channel import Channel, unpack

logger = logging.getLogger(__name__)

SAY_SECONDS = 1.0
# How soon it hears that it is to stop.
WAIT_SECONDS = 0.25
PAUSE_SECONDS = 0.5
STOP_SECONDS = 2.0
# What a Redis that has fallen silent without a word costs at most before it is noticed.
SILENT_SECONDS = 3.0


class Listener:
    """`heard` is called from the thread with the ids of each message, `connected` after each new subscription."""

    def __init__(self, heard: Callable[[list[UUID]], None], connected: Callable[[], None]) -> None:
        self._heard, self._connected = heard, connected
        self._channel = Channel(SILENT_SECONDS)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="live-listener", daemon=True)
        self._failed = False
        # When this subscription began (monotonic); None while there is none: then only comparing versions finds out.
        self.since: float | None = None

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Without waiting: the thread ends a moment later."""
        self._stopping.set()

    def join(self) -> None:
        if self._thread.ident is not None:
            self._thread.join(STOP_SECONDS)

    def _run(self) -> None:
        if not self._channel.exists:
            return
        while not self._stopping.is_set():
            try:
                self._listen()
            except Exception as error:  # noqa: BLE001 (redis-py's and kombu's errors share no base; all are logged)
                if not self._failed:
                    logger.warning("live events: no word from the broker, versions are compared: %s", first_line(error))
                self._failed = True
            self.since = None
            self._channel.close()
            self._stopping.wait(PAUSE_SECONDS)

    def _listen(self) -> None:
        subscription = self._channel.subscribe()
        try:
            next_word = 0.0
            while not self._stopping.is_set():
                if time.monotonic() >= next_word:
                    self._channel.say_that_we_listen()
                    next_word = time.monotonic() + SAY_SECONDS
                message = subscription.get_message(timeout=WAIT_SECONDS)
                if message is not None:
                    self._pass_on(message)
        finally:
            subscription.close()

    def _pass_on(self, message: dict[str, Any]) -> None:
        if message["type"] == "subscribe":  # also after redis-py has connected anew by itself: something may be missed
            self._begin()
        elif message["type"] == "message" and (found := unpack(message["data"])):
            self._heard(found)

    def _begin(self) -> None:
        if self._failed:
            logger.info("live events: the broker speaks again")
        self._failed = False
        self.since = time.monotonic()
        self._connected()

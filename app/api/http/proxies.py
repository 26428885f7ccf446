"""Tells the operator of a proxy that uvicorn does not trust: then all clients behind it share one address."""

import logging
import time
from collections.abc import Callable

from fastapi import Request

logger = logging.getLogger(__name__)

REPEAT_SECONDS = 3600.0
_FORWARDED = ("x-forwarded-for", "forwarded")


class UntrustedProxies:
    """Logs requests whose forwarded address does not count, at most one line an hour."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._next = float("-inf")

    def look(self, request: Request) -> None:
        """Log if the request names a client that is not taken for its peer."""
        peer = request.client.host if request.client else ""
        # From a trusted proxy, uvicorn has put one of the addresses in X-Forwarded-For in the place of the peer's.
        forwarded = [value for name in _FORWARDED for value in request.headers.getlist(name)]
        if not forwarded or (peer and any(peer in value for value in request.headers.getlist(_FORWARDED[0]))):
            return
        now = self._clock()
        if now < self._next:
            return
        self._next = now + REPEAT_SECONDS
        logger.warning(
            "X-Forwarded-For or Forwarded from %s does not count: if this is your proxy, all its clients share one"
            " address and its limits. Name the proxy in FORWARDED_ALLOW_IPS, and let it send X-Forwarded-For",
            peer or "an unknown peer",
        )

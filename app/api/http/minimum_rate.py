"""How fast a client must send a body and take an answer."""


class MinimumRate:
    """The time that one transfer has left.

    It starts with `seconds`. Time takes from it, and each `bytes_per_second` bytes give a second back, up to `seconds`.
    So a transfer without progress ends after `seconds`, and one below the rate a while later. At the rate none ends.
    """

    __slots__ = ("_at", "_left", "_rate", "_seconds")

    def __init__(self, seconds: float, bytes_per_second: float, now: float) -> None:
        self._seconds, self._rate = seconds, bytes_per_second
        self._left, self._at = seconds, now

    def moved(self, count: int, now: float) -> bool:
        """Note the bytes that were transferred since the last call. Returns False when no time is left."""
        self._left = min(self._seconds, self._left - (now - self._at) + count / self._rate)
        self._at = now
        return self._left >= 0

    def excuse(self, now: float) -> None:
        """Do not count the time since the last call: the server was not ready for more."""
        self._at = now

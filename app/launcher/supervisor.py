"""Keeps parts running: starts a dead one again, at once and then with longer pauses, and stops all in order."""

import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import FrameType
from typing import Protocol

from app.launcher.console import Console
from app.launcher.errors import LauncherError

WATCH_SECONDS = 0.2
LONGEST_PAUSE = 30.0
STEADY_SECONDS = 60.0  # after so long a run the next pause is short again
MOST_LEAVING = 8  # parts that end what they have begun. Each is a worker with its memory and its connections


class Part(Protocol):
    """A process that a supervisor keeps running."""

    @property
    def name(self) -> str: ...

    def start(self) -> object: ...

    def poll(self) -> int | None: ...

    def stop(self, *, hurry: Callable[[], bool]) -> None: ...

    def tail(self, lines: int = 5) -> list[str]: ...


class LeavingPart(Part, Protocol):
    """A part that can end once it has done what it has begun."""

    def leave(self) -> None: ...

    def terminate(self) -> None: ...


class StopRequest:
    """Counts Ctrl-C, SIGTERM and SIGHUP: the first requests an orderly stop, the second a fast one."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._wake = threading.Event()
        self._count = 0

    def install(self) -> None:
        """Install the signal handlers. For the main thread."""
        for number in (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
            signal.signal(number, self._received)

    def _received(self, _number: int, _frame: FrameType | None) -> None:
        self._count += 1
        self._wake.set()

    @property
    def requested(self) -> bool:
        return self._count > 0

    def hurry(self) -> bool:
        return self._count > 1

    def wait(self, seconds: float) -> bool:
        """Wait for a request: True as soon as there is one, False after `seconds`."""
        return self._wake.wait(seconds)


class Watched:
    """A part with the number of its deaths and the time of its next start."""

    def __init__(self, part: Part) -> None:
        self.part = part
        self.started_at = time.monotonic()
        self.deaths = 0
        self.again_at: float | None = None
        self.leaving: LeavingPart | None = None
        self.is_terminated = False
        self.exit_code: int | None = None

    def died(self, now: float) -> float:
        """Count a death and return the pause before the next start: none, then 2, 4 … 30 seconds."""
        if now - self.started_at > STEADY_SECONDS:
            self.deaths = 0
        pause = min(LONGEST_PAUSE, 2.0**self.deaths) if self.deaths else 0.0
        self.deaths += 1
        self.again_at = now + pause
        return pause


class Supervisor:
    """`start` parts in order, `watch` them until a stop is requested, `stop` them by groups."""

    def __init__(self, console: Console, stop: StopRequest) -> None:
        self._console, self._stop = console, stop
        self._watched: dict[str, Watched] = {}

    def start(self, part: Part) -> None:
        """Start a part and keep it running from now on."""
        self._watched[part.name] = Watched(part)  # before the start: `stop` then ends a part whose start failed
        part.start()
        self._watched[part.name].started_at = time.monotonic()

    def adopt(self, part: Part) -> None:
        """Keep a part running that was started already, in the place of the one of this name, which is stopped."""
        self._stop_one(part.name)
        self._watched[part.name] = Watched(part)

    def replace(self, part: Part) -> None:
        """Stop the part of this name, if there is one, and start this one, again and again if it does not start."""
        self._stop_one(part.name)
        watched = self._watched[part.name] = Watched(part)
        self._try_to_start(watched)

    def let_leave(self, part: LeavingPart) -> None:
        """Tell a part to leave: it is not started again, and forgotten once it has ended.

        Of more than MOST_LEAVING such parts, those that were told first are terminated: they hand back what they run.
        """
        part.leave()
        self._watched[part.name].leaving = part
        self._watched[part.name].again_at = None
        leaving = [(each, each.leaving) for each in self._watched.values() if each.leaving]
        for watched, oldest in leaving[:-MOST_LEAVING]:
            if not watched.is_terminated:
                watched.is_terminated = True
                oldest.terminate()
                self._console.say(f"{oldest.name} is the oldest of too many that end their tasks: terminated")

    def free_name(self, name: str) -> str:
        """Return this name, or with a number behind it while parts of that name are still there."""
        names = (name, *(f"{name}-{number}" for number in range(2, len(self._watched) + 3)))
        return next(each for each in names if each not in self._watched)

    def _stop_one(self, name: str) -> None:
        if watched := self._watched.pop(name, None):
            watched.part.stop(hurry=self._stop.hurry)

    def deaths(self, name: str) -> int:
        """Return how often a part has died since its last steady run."""
        return self._watched[name].deaths

    def exit_code(self, name: str) -> int | None:
        """Return the exit code of a part's last death; None before one."""
        return self._watched[name].exit_code

    def last_line(self, name: str) -> str:
        """Return what a part has said last."""
        return next(filter(str.strip, reversed(self._watched[name].part.tail(5))), "")

    def watch(self, beside: Callable[[], None] = lambda: None) -> None:
        """Keep the parts running until a stop is requested, and call `beside` now and then."""
        while not self._stop.wait(WATCH_SECONDS):
            self.look()
            beside()

    def look(self) -> None:
        """Notice deaths and start the parts that are due, once."""
        for name, watched in list(self._watched.items()):
            self._look_at(name, watched)

    def revive(self, name: str) -> None:
        """Start the part of this name again if it has died, also in a pause: another part needs it now."""
        if watched := self._watched.get(name):
            self._look_at(name, watched)
            if watched.again_at is not None and self._try_to_start(watched):
                self._console.say(f"{name} runs again")

    def _look_at(self, name: str, watched: Watched) -> None:
        now = time.monotonic()
        if watched.again_at is None:
            code = watched.part.poll()
            if code is not None and watched.leaving:
                self._stop_one(name)
            elif code is not None:
                watched.exit_code = code
                self._tell(watched.part, how_it_ended(code), watched.died(now))
        elif now >= watched.again_at and self._try_to_start(watched):
            self._console.say(f"{name} runs again")

    def _try_to_start(self, watched: Watched) -> bool:
        watched.again_at = None
        try:
            watched.part.start()
        except (LauncherError, OSError) as error:
            self._tell(watched.part, f"did not start ({error})", watched.died(time.monotonic()))
            return False
        watched.started_at = time.monotonic()
        return True

    def _tell(self, part: Part, what: str, pause: float) -> None:
        for line in part.tail(5):
            self._console.part(part.name, line)
        self._console.say(f"{part.name} {what}: starting it again {f'in {pause:.0f} s' if pause else 'now'}")

    def stop(self, *groups: Sequence[str]) -> None:
        """Stop group after group, the parts of a group at the same time. A group lists beginnings of names."""
        for group in groups:
            parts = [watched.part for name, watched in self._watched.items() if name.startswith(tuple(group))]
            if parts:
                self._stop_together(parts)

    def _stop_together(self, parts: list[Part]) -> None:
        names = ", ".join(part.name for part in parts)
        with self._console.step(f"stopping {names}"), ThreadPoolExecutor(len(parts)) as pool:
            list(pool.map(lambda part: part.stop(hurry=self._stop.hurry), parts))


def how_it_ended(code: int) -> str:
    """Return an exit code in words; a negative one is a signal's number."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"

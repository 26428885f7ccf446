"""How much is measured: a run of ten minutes, or what the published figures come from."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    """`requests` and `seconds` bound each slice of HTTP load; the rest are counts for one round of a section."""

    name: str
    rounds: int
    clients: int
    requests: int
    seconds: float
    batches: int  # requests of 1,000 tasks
    drained: int  # no-op tasks a worker drains, or as many of them as it can in the seconds
    drain_seconds: float
    starts: int
    waiting: int  # low tasks in front of critical ones
    critical: int
    loop_seconds: float
    streams: int
    ticks: int  # progress reports that live events are timed by
    restarted: int  # tasks whose end is awaited over a restart of the broker
    kept: int  # no-op tasks through one pool child, to see whether its memory is flat
    rows: tuple[int, ...]  # of the tasks table, for the growth curves
    backlog: int  # tasks of one user that wait meanwhile: by a quota twice as many may
    calls: int  # requests that CPU is counted over
    of_each: int  # tasks of each of the users that share by weight
    pending: int  # rows that wait while claims are timed
    claims: int
    churned: int  # tasks that run before claims are timed again
    schedules: int  # of which none is due, or that are due one after the other
    schedule_seconds: float  # for which they are watched
    file_bytes: int  # of an upload and a download
    table_rows: int  # of the files of data

    def repeats(self, needed: int) -> int:
        """Return how often a noisy comparison is repeated: `needed` times at least where figures are published."""
        return max(self.rounds, needed) if self.name == "full" else self.rounds


QUICK = Size(
    "quick", rounds=1, clients=32, requests=800, seconds=4, batches=3, drained=3_000, drain_seconds=20, starts=30, waiting=2_000,
    critical=25, loop_seconds=1, streams=100, ticks=12, restarted=4, kept=400, rows=(2_000, 10_000), backlog=10_000,
    calls=300, of_each=150, pending=100_000, claims=200, churned=2_000,
    schedules=100_000, schedule_seconds=15, file_bytes=256 * 1024 * 1024, table_rows=200_000,
)  # fmt: skip
FULL = Size(
    "full", rounds=5, clients=32, requests=8_000, seconds=20, batches=20, drained=100_000, drain_seconds=20, starts=300, waiting=100_000,
    critical=100, loop_seconds=5, streams=1_000, ticks=100, restarted=20, kept=100_000,
    rows=(10_000, 1_000_000, 5_000_000), backlog=100_000, calls=5_000, of_each=5_000, pending=5_000_000, claims=2_000, churned=200_000,
    schedules=100_000, schedule_seconds=60, file_bytes=2 * 1024 * 1024 * 1024 - 1024 * 1024, table_rows=1_000_000,
)  # fmt: skip

# Whatever the options say.
MAX_CLIENTS, MAX_REQUESTS, MAX_SECONDS, MAX_ROUNDS = 512, 100_000, 120.0, 25

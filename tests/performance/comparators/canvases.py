"""`python -m tests.performance.comparators.canvases KIND NUMBER`: a chord or a chain of Celery's no-op task, and its end.

Prints the seconds from the call to the result. `RAW_BROKER` and `RAW_BACKEND` as in `raw.py`.
"""

import sys
import time
from collections.abc import Sequence

from celery import chain, chord

from tests.performance.comparators.raw import noop, total

SECONDS = 600


def main(words: Sequence[str]) -> int:
    kind, number = words[0], int(words[1])
    canvas = chord([noop.si() for _ in range(number - 1)], total.s()) if kind == "chord" else chain(
        *(noop.si() for _ in range(number))
    )  # fmt: skip
    begun = time.perf_counter()
    canvas.apply_async().get(timeout=SECONDS)
    sys.stdout.write(f"{time.perf_counter() - begun}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

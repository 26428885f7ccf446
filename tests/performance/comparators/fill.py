"""`python -m tests.performance.comparators.fill COUNT`: messages for plain Celery's no-op task."""

import sys

from tests.performance.comparators.raw import app, noop

if __name__ == "__main__":
    with app.producer_pool.acquire(block=True) as producer:
        for _ in range(int(sys.argv[1])):
            noop.apply_async(producer=producer)
    sys.exit(0)

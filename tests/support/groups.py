"""Calls of a group of `app/services/batched/` that are made together."""

import asyncio
from collections.abc import Callable
from typing import Any

from app.core.fair_threads import FairThreads


def together(group: Callable[[FairThreads], Any], *calls: Callable[[Any], Any]) -> list[Any]:
    """The outcomes of calls that are made in one turn of the event loop, and so are one group."""

    async def run() -> list[Any]:
        made = group(FairThreads(4, 100))
        try:
            return await asyncio.gather(*(call(made) for call in calls), return_exceptions=True)
        finally:
            await made.close()

    return asyncio.run(run())

"""The fair order of what several users wait for in one process: the first of each user, then the second of each.

So who has thousands waiting keeps each other user waiting for one of them at a time.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar

Item = TypeVar("Item")


def by_turns(items: Iterable[Item], user_of: Callable[[Item], Hashable]) -> list[Item]:
    """Return the first item of each user, then the second of each, and so on; within these in the given order."""
    seen: Counter[Hashable] = Counter()
    rounds: list[list[Item]] = []
    for each in items:
        user = user_of(each)
        if seen[user] == len(rounds):
            rounds.append([])
        rounds[seen[user]].append(each)
        seen[user] += 1
    return [each for one_round in rounds for each in one_round]

"""The fair order of what several users wait for in one process: the first of each user, then the second of each.

So who has thousands waiting keeps each other user waiting for one of them at a time (fair queuing, Nagle, RFC 970).
`by_turns` gives a list this order, `FairQueue` what comes and goes.
"""

from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterable
from typing import Generic, TypeVar

User = TypeVar("User", bound=Hashable)
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


class FairQueue(Generic[User, Item]):
    """Items that wait: users take turns, and each user's items leave in the order in which they came.

    One thread at a time uses it.
    """

    def __init__(self) -> None:
        # The users in the order of their turns. None has an empty queue.
        self._waiting: dict[User, deque[Item]] = {}
        self._number = 0

    def __len__(self) -> int:
        return self._number

    def number_of(self, user: User) -> int:
        """Return how many items of this user wait."""
        return len(self._waiting.get(user, ()))

    def add(self, user: User, item: Item) -> None:
        """Have an item wait behind the others of its user."""
        self._waiting.setdefault(user, deque()).append(item)
        self._number += 1

    def remove(self, user: User, item: Item) -> None:
        """Take out an item that waits no more. Raises KeyError, ValueError if it does not wait."""
        queue = self._waiting[user]
        queue.remove(item)
        self._number -= 1
        if not queue:
            del self._waiting[user]

    def take(self, may_have: Callable[[User], bool] = lambda _: True) -> tuple[User, Item] | None:
        """Take the next item, that of the first user who may have one now. None if there is none.

        Who may not keeps their turn.
        """
        for user, queue in self._waiting.items():
            if may_have(user):
                item = queue.popleft()
                self._number -= 1
                del self._waiting[user]
                if queue:
                    self._waiting[user] = queue  # behind the others
                return user, item
        return None

"""One page of a list, as every service returns it (keyset pagination)."""

from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

# A page ends at so many bytes of its items, at least one of them.
MAX_PAGE_BYTES = 1024 * 1024

Item = TypeVar("Item")
Position = TypeVar("Position")


class Page(NamedTuple, Generic[Item, Position]):
    """The items, and the position after which the next page starts. None: this is the last page."""

    items: list[Item]
    last: Position | None


def page_of(found: list[Item], limit: int, position: Callable[[Item], Position]) -> Page[Item, Position]:
    """Cut `found` to a page of `limit` items.

    Takes one item more than the page holds, if there are as many: the extra item shows that another page follows.
    """
    return Page(found[:limit], position(found[limit - 1]) if len(found) > limit else None)

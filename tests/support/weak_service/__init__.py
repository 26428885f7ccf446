"""A tiny service with the contract's manners in memory, and a switch that breaks any one of them.

`WeakService("no_token")` behaves well but for the weakness of that name, which is the key of the check that must find
it. The standard library's HTTP server sends whatever it is told, where a good one would refuse.
"""

from tests.support.weak_service.http import WeakService

__all__ = ["WeakService"]

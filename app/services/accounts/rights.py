"""What a caller may have run: by their user, and by the scopes of the API key that asks."""

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from app.errors import InsufficientScope
from app.models.api_key import ALL_SCOPES


@dataclass(frozen=True, slots=True)
class Rights:
    """Those of a caller, as `permissions.check_may_create` compares them with tasks. A login has all scopes."""

    user_id: UUID
    role: str
    max_priority: str
    scopes: Collection[str] = ALL_SCOPES

    def check_scope(self, scope: str) -> None:
        """Raise InsufficientScope unless the caller has the scope."""
        if scope not in self.scopes:
            raise InsufficientScope(scope)

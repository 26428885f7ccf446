"""API keys: long-lived bearer tokens for machines, each with its scopes."""

from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from sqlalchemy import ForeignKey, Index, and_, or_
from sqlalchemy.orm import Mapped, mapped_column

from app.core.ids import new_id
from app.ddl.base import Base
from app.ddl.clock import NOW
from app.ddl.columns import Digest, TextList, subset_check
from app.models.recorded_event import RecordedEvent
from app.models.user import User


class ApiKeyEvent(RecordedEvent):
    """What the audit records of API keys."""

    CREATED = "api_key.created"
    REVOKED = "api_key.revoked"
    USED = "api_key.used"


class Scope(StrEnum):
    """The rights of an API key. No scope includes another, and none exceeds the rights of the owner."""

    TASKS_READ = "tasks:read"
    TASKS_WRITE = "tasks:write"
    ADMIN = "admin"


ALL_SCOPES = frozenset(Scope)


class ApiKey(Base):
    """Stored as a SHA-256 digest (the key has 256 random bits). A revoked one stays for a while, to be seen as such."""

    __tablename__ = "api_keys"
    __table_args__ = (subset_check("scopes", list(Scope), "scopes"), Index("ix_api_keys_user_id_id", "user_id", "id"))

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    name: Mapped[str]
    prefix: Mapped[str]
    digest: Mapped[bytes] = mapped_column(Digest, unique=True)
    scopes: Mapped[list[str]] = mapped_column(TextList)
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    expires_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


# A key that is neither revoked nor expired; and one that authenticates: its owner, joined, is active as well.
KEY_OPEN = and_(ApiKey.revoked_at.is_(None), or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > NOW))
KEY_STANDS = and_(KEY_OPEN, User.is_active)
# `last_used_at` is written at most once a minute for each key: a write for each request would make one row the
# bottleneck of a client that sends a thousand requests a second.
USE_NOTED_EVERY = timedelta(minutes=1)
USE_IS_STALE = or_(ApiKey.last_used_at.is_(None), ApiKey.last_used_at < NOW - USE_NOTED_EVERY)

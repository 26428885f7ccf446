"""What modules of `app.db` promise of accounts on every engine: users, logins, API keys and the throttle's counts."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.core.ids import new_id
from app.db.statements import accounts
from app.db.statements.accounts import (
    StoredCount,
    has_signed_in,
    lock_user_unchanged,
    read_throttle_counts,
    write_throttle_counts,
)
from app.models import User
from app.models.auth import ApiKey, LoginSession, RefreshToken
from tests.support.databases import ENGINE
from tests.support.lock_waits import after_the_commit, needs_row_locks
from tests.support.retention import forget_in_twos
from tests.support.spelling import spelled
from tests.support.tasks import new_user

DAY = timedelta(days=1)
DIGEST = b"d" * 32


class TestUsers:
    @staticmethod
    def values(name: str, address: str) -> dict[str, Any]:
        return {
            "username": name, "username_normalized": name.lower(), "email": address, "email_normalized": address.lower(),
            "password_hash": "!",
        }  # fmt: skip

    def test_have_their_name_and_address_alone(self, db: Session) -> None:
        anna = accounts.insert_user(db, self.values("Anna", "anna@example.com"))
        assert anna is not None
        assert (anna.username, anna.role, anna.is_active, anna.weight) == ("Anna", "user", True, 1)
        assert accounts.insert_user(db, self.values("anna", "other@example.com")) is None
        assert accounts.insert_user(db, self.values("ben", "Anna@example.com")) is None
        assert accounts.insert_user(db, self.values("ben", "ben@example.com")) is not None
        with pytest.raises(IntegrityError), db.begin_nested():
            accounts.update_user(db, anna.id, {"username_normalized": "ben"})

    def test_a_change_is_returned_as_the_row_is_then(self, db: Session) -> None:
        user = db.get_one(User, new_user(db))
        changed = accounts.update_user(db, user.id, {"weight": 7, "role": "admin"})
        assert (changed.weight, changed.role) == (7, "admin")
        assert changed.updated_at >= user.created_at

    @needs_row_locks
    def test_a_name_that_another_transaction_takes_is_waited_for(self, one: Session, other: Session) -> None:
        accounts.insert_user(one, self.values("anna", "anna@example.com"))
        same = self.values("anna", "other@example.com")
        assert after_the_commit(one, lambda: accounts.insert_user(other, same)) is None

    def test_active_administrators_are_locked_in_one_order(self, db: Session) -> None:
        before = {*accounts.lock_active_admins(db)}
        admins = [new_user(db, "admin") for _ in range(3)]
        new_user(db)
        accounts.update_user(db, admins[0], {"is_active": False})
        assert [each for each in accounts.lock_active_admins(db) if each not in before] == sorted(admins[1:])

    @needs_row_locks
    def test_a_demotion_waits_for_the_lock_of_the_administrators(self, one: Session, other: Session) -> None:
        """Else each of two administrators could demote the other."""
        admins = sorted(new_user(one, "admin") for _ in range(2))
        assert accounts.lock_active_admins(one) == admins
        accounts.update_user(one, admins[0], {"role": "user"})
        assert after_the_commit(one, lambda: accounts.lock_active_admins(other)) == admins[1:]

    def test_a_lock_knows_whether_the_password_has_changed(self, db: Session) -> None:
        user = new_user(db, password_hash="hash")
        for to_write in (True, False):
            now = lock_user_unchanged(db, user, "hash", to_write=to_write)
            assert now is not None
            assert abs(now - datetime.now(UTC)) < timedelta(minutes=5)
            assert lock_user_unchanged(db, user, "other", to_write=to_write) is None
        accounts.update_user(db, user, {"is_active": False})
        assert lock_user_unchanged(db, user, "hash", to_write=True) is None


class TestLogins:
    @staticmethod
    def new(db: Session, user: UUID, digest: bytes = DIGEST, expires_in: timedelta = DAY) -> UUID:
        ends = datetime.now(UTC) + expires_in
        login = LoginSession(id=new_id(), user_id=user, expires_at=ends)
        db.add(login)
        db.flush()
        db.add(RefreshToken(digest=digest, session_id=login.id, expires_at=ends))
        db.flush()
        return login.id

    def test_a_refresh_token_is_used_once(self, db: Session) -> None:
        login = self.new(db, new_user(db))
        found = [accounts.use_refresh_token(db, DIGEST), accounts.use_refresh_token(db, DIGEST)]
        assert found == [login, None]
        assert accounts.use_refresh_token(db, b"x" * 32) is None

    def test_one_is_revoked_once(self, db: Session) -> None:
        user = new_user(db)
        login = self.new(db, user)
        assert [accounts.revoke_session(db, login, "logout") for _ in range(2)] == [user, None]
        assert db.get_one(LoginSession, login).revoked_why == "logout"

    def test_the_open_ones_of_a_user_are_revoked_but_those_that_are_named(self, db: Session) -> None:
        anna, ben = new_user(db), new_user(db)
        first, second, third = (self.new(db, anna, bytes([number]) * 32) for number in range(3))
        self.new(db, anna, b"o" * 32, -DAY)  # over
        self.new(db, ben, b"b" * 32)
        assert accounts.revoke_open_sessions(db, anna, "why", only=first) == [first]
        assert accounts.revoke_open_sessions(db, anna, "why", but=second) == [third]
        assert accounts.revoke_open_sessions(db, anna, "why") == [second]
        assert accounts.revoke_open_sessions(db, anna, "why") == []

    def test_ended_ones_are_deleted_in_batches_with_their_tokens(self, db: Session) -> None:
        user = new_user(db)
        for number in range(3):
            self.new(db, user, bytes([number]) * 32, -2 * DAY)
        left = self.new(db, user)
        assert forget_in_twos(db, "login_sessions", login_retention_days=1) == [2, 1, 0]
        assert list(db.scalars(select(RefreshToken.session_id))) == [left]


class TestApiKeys:
    @staticmethod
    def new(db: Session, digest: bytes = DIGEST, **columns: Any) -> UUID:
        user = columns.pop("user_id", None) or new_user(db)
        key = ApiKey(user_id=user, name="k", prefix="tsk_x", digest=digest, scopes=["tasks:read"], **columns)
        db.add(key)
        db.flush()
        return key.id

    def test_a_use_is_noted_once_a_minute(self, db: Session) -> None:
        key = self.new(db)
        assert [accounts.note_key_use(db, key) for _ in range(2)] == [True, False]
        db.execute(spelled("UPDATE api_keys SET last_used_at = now() - interval '61 seconds'"))
        assert accounts.note_key_use(db, key)

    @needs_row_locks
    def test_a_use_that_another_request_notes_is_not_waited_for(self, one: Session, other: Session) -> None:
        key = self.new(one)
        one.commit()
        assert accounts.note_key_use(one, key)
        assert not accounts.note_key_use(other, key)

    def test_one_is_revoked_once(self, db: Session) -> None:
        key = self.new(db)
        assert [accounts.revoke_key(db, key) for _ in range(2)] == [True, False]

    def test_the_owner_is_locked_with_the_role(self, one: Session, other: Session) -> None:
        user = new_user(one, "admin")
        assert accounts.lock_owner(one, user) == "admin"
        if ENGINE != "sqlite":  # whose one writer is `one`
            assert after_the_commit(one, lambda: accounts.lock_owner(other, user)) == "admin"
            other.commit()
        accounts.update_user(one, user, {"is_active": False})
        assert accounts.lock_owner(one, user) is None

    def test_ended_ones_are_deleted_in_batches(self, db: Session) -> None:
        long_ago = datetime.now(UTC) - 3 * DAY
        for number in range(2):
            self.new(db, bytes([number]) * 32, revoked_at=long_ago)
        self.new(db, b"e" * 32, expires_at=long_ago)
        left = {self.new(db), self.new(db, b"r" * 32, revoked_at=datetime.now(UTC))}
        assert forget_in_twos(db, "api_keys", login_retention_days=1) == [2, 1, 0]
        assert {*db.scalars(select(ApiKey.id))} == left


class TestThrottle:
    def test_a_count_begins_at_zero_and_is_kept(self, db: Session) -> None:
        assert read_throttle_counts(db, ["a"])[0] == {}
        counts, now = accounts.lock_throttle_counts(db, ["b", "a", "b"])
        assert {key: (count.number, count.blocked_until) for key, count in counts.items()} == {
            "a": (0, None),
            "b": (0, None),
        }
        assert abs(now - datetime.now(UTC)) < timedelta(minutes=5)
        until = now + timedelta(seconds=90)
        write_throttle_counts(db, {"a": StoredCount(3, now, until)})
        assert (
            accounts.lock_throttle_counts(db, ["a"])[0]
            == read_throttle_counts(db, ["a", "none"])[0]
            == {"a": StoredCount(3, now, until)}
        )
        accounts.delete_throttle_counts(db, ["a"])
        assert {*read_throttle_counts(db, ["a", "b"])[0]} == {"b"}

    @needs_row_locks
    def test_a_count_is_locked_until_the_commit(self, one: Session, other: Session) -> None:
        accounts.lock_throttle_counts(one, ["a"])
        one.commit()
        counts, now = accounts.lock_throttle_counts(one, ["a"])
        write_throttle_counts(one, {"a": StoredCount(counts["a"].number + 1, now, None)})
        found, _ = after_the_commit(one, lambda: accounts.lock_throttle_counts(other, ["a"]))
        assert found["a"].number == 1

    def test_a_block_is_remembered_for_its_account(self, db: Session) -> None:
        anna, ben = new_user(db), new_user(db)
        accounts.note_login_block(db, anna, DIGEST)
        db.execute(spelled("UPDATE login_blocks SET signed_in_at = now() - interval '30 day'"))
        accounts.note_login_block(db, anna, DIGEST)
        assert has_signed_in(db, anna, [b"x" * 32, DIGEST])
        assert not has_signed_in(db, ben, [DIGEST])
        assert not has_signed_in(db, anna, [b"x" * 32])
        (since,) = db.execute(
            spelled("SELECT count(*) FROM login_blocks WHERE signed_in_at > now() - interval '1 day'")
        ).one()
        assert since == 1

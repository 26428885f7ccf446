"""Limits on logins, repeated password checks and other deeds of accounts, counted in the database for all processes.

A wrong password counts for the account from this address block, for the account, and for the block. Each count has
attempts that are free; then each further failure doubles the wait (NIST SP 800-63B-4 §3.2.2, OWASP ASVS 5.0 6.3.1). The
counts of the account and of the block do not hold for a block where the account has signed in before, so that guesses
from elsewhere do not keep the user out. An unknown account has the same counts and has never signed in anywhere.

No function commits. The database's clock decides.
"""

import hashlib
import hmac
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy.orm import Session

from app.core.config import Settings
from app.core.origin import address_block
from app.db.statements import accounts
from app.db.statements.accounts import StoredCount, has_signed_in, read_throttle_counts, write_throttle_counts
from app.errors import TooManyRequests
from app.models.audit import AuditEvent
from app.services import audit
from app.services.audit import Subject

# Failures in a row are forgotten after so long without one, in addition to the longest wait.
FORGOTTEN_AFTER = timedelta(days=1)
FIRST_WAIT = timedelta(seconds=1)
# Logins, registrations and changes of accounts are counted within this window, and no wait after failures is longer.
WINDOW = timedelta(minutes=15)
# After so long no count has a meaning any more.
LONGEST_MEMORY = FORGOTTEN_AFTER + WINDOW
# Failures in a row of one account, wherever from: then guesses from many addresses wait too. LOGIN_ATTEMPTS, which an
# operator's rules may name, holds for one address.
FAILURES_PER_ACCOUNT = 100
# Failures from one address. A company's users may share one: accounts that have signed in from there do not wait.
FAILURES_PER_ADDRESS = 100
# Successful logins of an account, and refreshes of a login: each writes rows and costs an Argon2 or a signature.
LOGINS_PER_ACCOUNT = 300
# Successful logins from one address, but for the first LOGIN_ATTEMPTS of each account.
LOGINS_PER_ADDRESS = 1000
# Changes of one kind by one user, such as of the own name: each writes records of the audit.
CHANGES_PER_USER = 50
_LONGEST_DOUBLING = 30
_NOBODY = UUID(int=0)
# What wrong passwords count for: an account from an address block, an account, and one who is logged in.
_HERE, _ANYWHERE, _AGAIN = "account and block", "account", "password check"
_FAILED = "Too many failed attempts: wait before the next one"


@dataclass(frozen=True, slots=True)
class Limit:
    """How often an event may happen under one key before it is refused for a while.

    Args:
        key: names what is counted.
        free: events that cause no wait.
        memory: time after which the count starts anew: since its last event if `is_row`, else since its first one.
        longest_wait: the wait starts at FIRST_WAIT, doubles with each event and ends here. None: the wait lasts until
            the count starts anew.
        is_row: counts events in a row, however far apart within `memory`.
    """

    key: str
    free: int
    memory: timedelta
    longest_wait: timedelta | None = None
    is_row: bool = False

    def wait(self, count: StoredCount | None, now: datetime) -> float:
        """Return the seconds until the next event is allowed; 0 if it is now."""
        if count is None or count.blocked_until is None or self._is_over(count, now):
            return 0
        return max(0, (count.blocked_until - now).total_seconds())

    def after(self, count: StoredCount | None, now: datetime) -> StoredCount:
        """Return the count after one more event."""
        if count is None or self._is_over(count, now):
            count = StoredCount(0, now, None)
        number, started_at = count.number + 1, now if self.is_row else count.started_at
        end = started_at + self.memory
        if number < self.free:
            return StoredCount(number, started_at, None)
        if self.longest_wait is None:
            return StoredCount(number, started_at, end)
        doubled = FIRST_WAIT * 2 ** min(number - self.free, _LONGEST_DOUBLING)
        return StoredCount(number, started_at, min(now + min(doubled, self.longest_wait), end))

    def _is_over(self, count: StoredCount, now: datetime) -> bool:
        return count.started_at + self.memory <= now


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt to show a password, from the first look at the limits until it counts as a failure or a success.

    Argon2 runs between two transactions. The second one locks the counts and checks them again, so that parallel
    guesses get no more answers than the limits allow.

    Args:
        failures: the limits of failures, each with the subject that the audit names.
        waived: those of them that do not hold for this block.
        logins: the limits of successful logins: of the account, then of the block.
        first_logins: so many logins of the account do not need room in the block's count, which others may have filled.
    """

    failures: Mapping[Limit, Subject]
    waived: frozenset[Limit] = frozenset()
    logins: Sequence[Limit] = ()
    first_logins: int = 0

    def check(self, db: Session) -> None:
        """Raise TooManyRequests if a limit is reached.

        The limits of successful logins are checked before the password only where the account has signed in: elsewhere
        they would tell a stranger that it exists.
        """
        logins = self.logins if self.waived else ()
        counts, now = read_throttle_counts(db, [limit.key for limit in (*self.failures, *logins)])
        self._refuse_failures(counts, now)
        self._refuse_logins(counts, now, logins)

    def fail(self, db: Session, reason: str) -> None:
        """Count a failure and record it in the audit. Raises TooManyRequests, and then does neither.

        Refusals are not recorded, so that a flood of them causes no flood of records; the start of a throttle is.
        """
        counts, now = accounts.lock_throttle_counts(db, [limit.key for limit in self.failures])
        self._refuse_failures(counts, now)
        counted = {limit: limit.after(counts[limit.key], now) for limit in self.failures}
        write_throttle_counts(db, {limit.key: count for limit, count in counted.items()})
        audit.record(db, AuditEvent.LOGIN_FAILED, next(iter(self.failures.values())), why=reason)
        for limit, count in counted.items():
            if count.number == limit.free and limit.longest_wait is not None:
                longest = int(limit.longest_wait.total_seconds())
                subject = self.failures[limit]
                audit.record(db, AuditEvent.LOGIN_THROTTLED, subject, failures=limit.free, longest_wait_seconds=longest)

    def succeed(self, db: Session) -> None:
        """Count a success, which ends the failures in a row. Raises TooManyRequests, and then does neither.

        The count of the account stays where it is throttled: else each success of the user would give those who guess
        from many addresses their free attempts back.
        """
        counts = self._count_login(db)
        ended = [limit.key for limit in self.failures if limit.is_row and counts[limit.key].number < limit.free]
        accounts.delete_throttle_counts(db, [next(iter(self.failures)).key, *ended])

    def leave_open(self, db: Session) -> None:
        """Count a login that lacks its one-time code: like a successful one, whose work it cost. It ends no failures.

        Raises TooManyRequests, and then counts nothing.
        """
        self._count_login(db)

    def _count_login(self, db: Session) -> Mapping[str, StoredCount]:
        counts, now = accounts.lock_throttle_counts(db, [limit.key for limit in (*self.failures, *self.logins)])
        self._refuse_failures(counts, now)
        self._refuse_logins(counts, now, self.logins)
        write_throttle_counts(db, {limit.key: limit.after(counts[limit.key], now) for limit in self.logins})
        return counts

    def _refuse_failures(self, counts: Mapping[str, StoredCount], now: datetime) -> None:
        _refuse([limit for limit in self.failures if limit not in self.waived], counts, now, _FAILED)

    def _refuse_logins(self, counts: Mapping[str, StoredCount], now: datetime, limits: Sequence[Limit]) -> None:
        own = counts.get(limits[0].key) if limits else None
        is_first = own is None or own.number < self.first_logins
        _refuse(limits[:1] if is_first else limits, counts, now, "Too many logins: use the open ones")


def login_attempt(db: Session, settings: Settings, login: str, user_id: UUID | None, address: str) -> Attempt:
    """Return the attempt to log in under this name, from this address; `user_id` is None for an unknown name.

    An account counts under its id, so that its name and its e-mail address share the counts.
    """
    block = address_block(address)
    account = login.lower() if user_id is None else str(user_id)
    subject = Subject.unknown_login(login, settings.signing_key) if user_id is None else Subject.user(user_id)
    here = _row(_HERE, account, block, free=settings.login_attempts)
    anywhere = _row(_ANYWHERE, account, free=FAILURES_PER_ACCOUNT)
    of_block = Limit(_key("block", block), FAILURES_PER_ADDRESS, WINDOW, WINDOW)
    # The same statement for an unknown account, which shall take the same time.
    is_known = has_signed_in(db, user_id or _NOBODY, _block_digests(settings, user_id or _NOBODY, block))
    logins = (
        Limit(_key("logins of account", account), LOGINS_PER_ACCOUNT, WINDOW),
        Limit(_key("logins of block", block), LOGINS_PER_ADDRESS, WINDOW),
    )
    return Attempt(
        failures={here: subject, anywhere: subject, of_block: Subject.address(address)},
        waived=frozenset({anywhere, of_block} if is_known else ()),
        logins=logins,
        first_logins=settings.login_attempts,
    )


def password_check(settings: Settings, user_id: UUID) -> Attempt:
    """Return the attempt of a user who is logged in to show the password again. It shares no count with logins."""
    return _check_again(_AGAIN, settings, user_id)


def code_check(settings: Settings, user_id: UUID) -> Attempt:
    """Return the attempt of a user who is logged in to show a one-time code.

    It shares no count with the password, which is shown at the same time: a right one must not end the wrong codes.
    """
    return _check_again("code check", settings, user_id)


def count_change(db: Session, changes: str, user_id: UUID) -> None:
    """Count a change of an account, whatever comes of it; `changes` names it in the plural. Raises TooManyRequests."""
    count_deed(db, changes, {str(user_id): CHANGES_PER_USER})


def count_deed(db: Session, deed: str, limits: Mapping[str, int]) -> None:
    """Count something that writes rows or tells which names are taken, whatever comes of it.

    Args:
        deed: what is counted, for the keys and for the refusal, in the plural.
        limits: how often it may happen within WINDOW, for each user id, login id or address block.

    Raises TooManyRequests, and then counts nothing. Concurrent calls cannot exceed the limit: the counts are locked.
    """
    if not limits:
        return
    all_limits = [Limit(_key(deed, whose), most, WINDOW) for whose, most in limits.items()]
    counts, now = accounts.lock_throttle_counts(db, [limit.key for limit in all_limits])
    _refuse(all_limits, counts, now, f"Too many {deed}: try again later")
    write_throttle_counts(db, {limit.key: limit.after(counts[limit.key], now) for limit in all_limits})


def forget_wrong_passwords(db: Session, user_id: UUID) -> None:
    """End the waits of this account after wrong passwords, from all address blocks. What the blocks count stays."""
    account = str(user_id)
    keys = [
        *accounts.throttle_keys_after(db, f"{_key(_HERE, account)}:"),
        _key(_ANYWHERE, account),
        _key(_AGAIN, account),
    ]
    accounts.lock_throttle_counts(db, keys)  # in the order in which a failure locks them
    accounts.delete_throttle_counts(db, keys)


def remember_block(db: Session, settings: Settings, user_id: UUID, address: str) -> None:
    """Remember that the account signed in from the block of this address.

    Stored as a keyed digest (HMAC-SHA-256), because an address is personal data and there are few of them to try.
    """
    accounts.note_login_block(db, user_id, _block_digests(settings, user_id, address_block(address))[0])


def _check_again(kind: str, settings: Settings, user_id: UUID) -> Attempt:
    limit = _row(kind, str(user_id), free=settings.login_attempts)
    return Attempt(failures={limit: Subject.user(user_id)})


def _row(kind: str, *names: str, free: int) -> Limit:
    return Limit(_key(kind, *names), free, LONGEST_MEMORY, WINDOW, is_row=True)


def _key(kind: str, *names: str) -> str:
    """Return the key of a count. Hashed, because users type passwords as names, and to bound its length."""
    return ":".join([kind, *(hashlib.sha256(name.encode()).hexdigest() for name in names)])


def _block_digests(settings: Settings, user_id: UUID, block: str) -> list[bytes]:
    """Return the digests by each key that is accepted, the newest first: they outlive a rotation of SECRET_KEY."""
    text = f"login block:{user_id}:{block}".encode()
    return [hmac.digest(key.encode(), text, "sha256") for key in settings.accepted_keys]


def _refuse(limits: Iterable[Limit], counts: Mapping[str, StoredCount], now: datetime, detail: str) -> None:
    wait = max((limit.wait(counts.get(limit.key), now) for limit in limits), default=0)
    if wait > 0:
        raise TooManyRequests(detail, retry_after=math.ceil(wait))

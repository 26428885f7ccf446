"""The check of each new password, and that of FIRST_ADMIN_PASSWORD at the start."""

from app.core.config import ConfigurationError, Settings
from app.core.credentials import weakness
from app.errors import WeakPassword


def check_strength(password: str, username: str, email: str, *, field: str) -> None:
    """Raise WeakPassword if the password is short or easy to guess. The error never repeats the password.

    Takes about 0.1 s, so call it outside transactions.
    """
    weak = weakness(password, (username, email))
    if weak is not None:
        raise WeakPassword(weak.advice, [{"loc": [field], "msg": weak.advice, "type": weak.kind}])


def check_first_admin(settings: Settings) -> None:
    """Raise ConfigurationError if production names a weak FIRST_ADMIN_PASSWORD, also where that user exists already.

    Elsewhere a weak one is a line in the log: `UserService.ensure_first_admin` refuses it.
    """
    name, password = settings.first_admin_username, settings.first_admin_password
    if settings.app_env != "production" or name is None or password is None:
        return
    weak = weakness(password.get_secret_value(), (name, settings.first_admin_email or ""))
    if weak is not None:
        raise ConfigurationError(f"configuration: APP_ENV=production refuses this FIRST_ADMIN_PASSWORD. {weak.advice}")

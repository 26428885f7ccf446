"""Normalises e-mail addresses to ASCII, so that no two accounts have look-alike addresses."""

from contextlib import suppress

from email_validator import validate_email


def ascii_address(email: str) -> str:
    """Return the address in ASCII, with an international domain in its `xn--` form.

    Raises ValueError for an invalid address, and for a local part outside ASCII: with a Cyrillic «а» there could be a
    second anna@example.com.
    """
    ascii_form = validate_email(email, allow_smtputf8=False, check_deliverability=False).ascii_email
    if ascii_form is None:
        raise ValueError("no ASCII form")
    return ascii_form


def spellings(login: str) -> set[str]:
    """Return the lower-case names under which this login may be registered: itself, or its address in ASCII.

    Returns an empty set for a name outside ASCII, and drops look-alikes whose lower case is ASCII (the Kelvin sign).
    """
    small = login.lower()
    if login.isascii() or "@" not in login:
        return {small} if login.isascii() else set()
    names = set() if small.isascii() else {small}
    with suppress(ValueError):
        names.add(ascii_address(login).lower())
    return names

"""E-mail addresses in the one spelling that counts: ASCII, without look-alikes."""

from contextlib import suppress

from email_validator import validate_email


def ascii_address(email: str) -> str:
    """The address in ASCII: a domain in other letters in the `xn--` form in which DNS knows it.

    Raises ValueError. Other letters before the @ are refused as well: with an «а» of another alphabet there would be a
    second anna@example.com.
    """
    ascii_form = validate_email(email, allow_smtputf8=False, check_deliverability=False).ascii_email
    if ascii_form is None:
        raise ValueError("no ASCII form")
    return ascii_form


def spellings(login: str) -> set[str]:
    """What somebody who types this may be registered as, in small letters: itself, or its address in ASCII.

    None for a look-alike whose small letters are ASCII, as those of a Kelvin sign are.
    """
    small = login.lower()
    if login.isascii() or "@" not in login:
        return {small} if login.isascii() else set()
    names = set() if small.isascii() else {small}
    with suppress(ValueError):
        names.add(ascii_address(login).lower())
    return names

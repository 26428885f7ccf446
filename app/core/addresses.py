"""E-mail addresses in the one spelling in which nothing looks like another."""

from email_validator import EmailNotValidError, validate_email


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
    """What somebody who types this may be registered as: itself, and the ASCII form of an address. In small letters."""
    if login.isascii() or "@" not in login:
        return {login.lower()}
    try:
        return {login.lower(), ascii_address(login).lower()}
    except EmailNotValidError:
        return {login.lower()}

"""The base of the models."""

from typing import Annotated, TypeAlias

from pydantic import BaseModel, ConfigDict, StringConstraints

# What a header may hold of a key or a token (RFC 9110, token68, and what else is visible).
CREDENTIAL = r"[!-~]+"
Token: TypeAlias = Annotated[str, StringConstraints(pattern=f"^{CREDENTIAL}$")]


class Model(BaseModel):
    """An answer of the server. A model is built when it is first used.

    What a newer server adds is kept: fields, and values of enumerations, whose types are those known here and `str`.
    """

    model_config = ConfigDict(extra="allow", defer_build=True, protected_namespaces=())


class Tokens(Model):
    """The answer to a login."""

    access_token: Token
    refresh_token: Token

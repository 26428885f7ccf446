"""The base of the models."""

from pydantic import BaseModel, ConfigDict


class Model(BaseModel):
    """An answer of the server. A model is built when it is first used.

    What a newer server adds is kept: fields, and values of enumerations, whose types are those known here and `str`.
    """

    model_config = ConfigDict(extra="allow", defer_build=True, protected_namespaces=())

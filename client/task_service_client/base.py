"""The base of the models."""

from pydantic import BaseModel, ConfigDict


class Model(BaseModel):
    """An answer of the server. Fields that a newer server adds are kept; a model is built when it is first used."""

    model_config = ConfigDict(extra="allow", defer_build=True, protected_namespaces=())

"""The errors that a caller of this package gets. This module imports no polars."""


class UnusableData(ValueError):
    """A file cannot be used as it is. The text tells the client what is wrong and what to do."""


class TooMuchMemory(UnusableData):
    """A step of a query would hold more than it may, whatever the types of its columns are."""


class InvalidExpression(ValueError):
    """An expression, or a list of columns, does not fit the data. The text names the place and the fault."""

"""What is wrong with a timing, and in which field."""


class InvalidTiming(ValueError):
    """A timing that no schedule can have. `field` is the attribute of `Timing`; the text can be shown to the caller."""

    def __init__(self, field: str, message: str) -> None:
        self.field, self.message = field, message
        super().__init__(message)


class UnknownZone(InvalidTiming):
    """The tzdata package has no zone of this name."""

    def __init__(self, message: str) -> None:
        super().__init__("timezone", message)

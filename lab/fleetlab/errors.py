"""What goes wrong in the lab, in a sentence for whoever started it."""


class LabError(Exception):
    """The lab cannot do what was asked; the message says why and what to do."""


class CommandError(LabError):
    """A command ended with another status than 0, or too late."""

    def __init__(self, message: str, returncode: int = 1) -> None:
        super().__init__(message)
        self.returncode = returncode

"""What goes wrong before the command is even started."""


class UmlError(Exception):
    """User Mode Linux cannot be used; the message says why, and where the log is."""

"""Time that passes only where somebody waits, for hosts and fleets in memory."""


class Clock:
    """Seconds since some moment; who sleeps is there at once."""

    time = 0.0

    def clock(self) -> float:
        """Return the seconds."""
        return self.time

    def wall(self) -> float:
        """Return them by the clock on the wall, too."""
        return self.time

    def sleep(self, seconds: float) -> None:
        """Let seconds pass."""
        self.time += seconds

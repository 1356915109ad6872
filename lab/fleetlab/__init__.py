"""The lab: real hosts (systemd, dpkg, Salt) on one machine, on a network of their own."""

from .errors import LabError
from .lab import Lab, fresh

__all__ = ["Lab", "LabError", "fresh"]

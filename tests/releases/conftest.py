"""What releases there are: of Debian, and of this package. Each file has a lab of its own."""

from whole import pytest_addoption, pytest_collection_modifyitems  # noqa: F401

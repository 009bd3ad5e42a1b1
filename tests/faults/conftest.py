"""Fixtures of the fault tests."""

import pytest

from tests.faults.programs import Nursery


@pytest.fixture(scope="session")
def nursery():
    """Starts screens quickly."""
    opened = Nursery()
    yield opened
    opened.close()

"""Fixtures for the gateway: a whole server over real HTTP. Starting one costs a tenth of a second, so modules share it.

A test that needs other settings, or an empty store, starts one of its own: `with running(http={...}) as gateway`.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.gateway.serving import Gateway, running


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    """A server with default settings, shared by the tests of a module; its clock stands at NOON."""
    with running() as gateway:
        yield gateway

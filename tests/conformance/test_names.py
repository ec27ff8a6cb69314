from __future__ import annotations
from tests.conformance.conftest import START
async def test_x(store):
    assert START
    await store.ping()

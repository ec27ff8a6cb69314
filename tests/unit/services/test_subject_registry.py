"""Who comes into being by a write, and what the cache in front of the store remembers."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from streamgauge_server.model.assets import asset_id
from streamgauge_server.model.clock import FixedClock
from streamgauge_server.model.limits import Limits
from streamgauge_server.model.names import SubjectName
from streamgauge_server.model.values import SubjectKind
from streamgauge_server.services.subject_registry import SubjectRegistry
from streamgauge_server.storage.assets import NewAsset
from streamgauge_server.storage.blocks import SubjectGone
from streamgauge_server.storage.store import Store
from streamgauge_server.storage.subjects import SubjectKey

URN = "urn:li:dataset:orders"
ASSET = NewAsset(asset_id(URN), URN, "")
KEY = SubjectKey(SubjectName(SubjectKind.ASSET, ASSET.id), "")
PART = SubjectKey(KEY.name, "p")
SOURCE = SubjectKey(SubjectName(SubjectKind.SOURCE, "s"), "")


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    store = await Store.open("sqlite://:memory:", clock=FixedClock(0))
    yield store
    await store.close()


@pytest.fixture
def registry(store: Store) -> SubjectRegistry:
    return SubjectRegistry(store, Limits(), open_registration=True)


async def test_an_asset_is_registered_only_if_it_is_handed_over(registry: SubjectRegistry, store: Store) -> None:
    for keys in ([KEY], [PART], [SOURCE, KEY]):
        with pytest.raises(SubjectGone):
            await registry.ids("t", keys)
    with pytest.raises(SubjectGone):
        await registry.ids("t", [KEY], {asset_id("urn:a:other"): ASSET})
    assert await store.subjects.resolve("t", [SOURCE, KEY]) == {}

    ids = await registry.ids("t", [SOURCE, KEY], {ASSET.id: ASSET})
    assert ids.keys() == {SOURCE, KEY}
    assert (await store.assets.get("t", ASSET.id)).urn == URN
    assert await registry.ids("t", [KEY, PART]) == {KEY: ids[KEY], **await store.subjects.resolve("t", [PART])}


async def test_assets_are_registered_where_sources_are_not(store: Store) -> None:
    closed = SubjectRegistry(store, Limits(), open_registration=False)
    with pytest.raises(SubjectGone):
        await closed.ids("t", [SOURCE, KEY], {ASSET.id: ASSET})
    assert (await closed.ids("t", [KEY], {ASSET.id: ASSET})).keys() == {KEY}


async def test_a_source_of_an_assets_id_does_not_pass_for_the_asset(registry: SubjectRegistry) -> None:
    await registry.ids("t", [SubjectKey(SubjectName(SubjectKind.SOURCE, ASSET.id), "")])
    with pytest.raises(SubjectGone):
        await registry.ids("t", [KEY])


async def test_an_asset_that_another_server_deleted_does_not_come_back_by_a_part(
    registry: SubjectRegistry, store: Store
) -> None:
    ids = await registry.ids("t", [KEY], {ASSET.id: ASSET})
    await store.assets.delete("t", ASSET.id)
    with pytest.raises(SubjectGone) as gone:
        await registry.ids("t", [PART])
    assert gone.value.subject_ids == {ids[KEY]}
    registry.forget(gone.value.subject_ids)
    again = await registry.ids("t", [KEY], {ASSET.id: ASSET})
    assert again[KEY] != ids[KEY]

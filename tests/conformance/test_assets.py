"""The catalog of assets."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest
from streamgauge_server.model.assets import asset_id, platform_of
from streamgauge_server.model.clock import FixedClock
from streamgauge_server.model.entities import Asset
from streamgauge_server.model.errors import DomainError, Reason
from streamgauge_server.model.limits import Limits
from streamgauge_server.model.names import SubjectName
from streamgauge_server.model.values import SubjectKind
from streamgauge_server.storage.assets import NewAsset, page_key
from streamgauge_server.storage.blocks import SubjectGone
from streamgauge_server.storage.store import Store
from streamgauge_server.storage.subjects import SubjectKey

from tests.conformance.conftest import START, Observer, OpenStore, row_write, source_key

ORDERS = "urn:li:dataset:(urn:li:dataPlatform:postgres,shop.public.orders,PROD)"

LONG = "urn:li:dataset:" + "x" * 240  # 255 characters: as long as what assets are sorted by
URNS = [
    ORDERS,
    "urn:li:dataset:(urn:li:dataPlatform:s3,bucket/a/b.parquet,PROD)",
    "urn:li:dataset:(urn:li:dataPlatform:s3,bucket/a%2Fb.parquet,PROD)",
    "urn:li:dataset:(urn:li:dataPlatform:s3,bucket/a_b.parquet,PROD)",
    "urn:li:dataset:(urn:li:dataPlatform:s3,bucket/a\\b.parquet,PROD)",
    "urn:li:dataset:(urn:li:dataPlatform:s3,bucket/A_B.parquet,PROD)",
    "urn:li:dataset:(urn:li:dataPlatform:s3,bucket/with a blank,PROD)",
    "urn:li:dataset:(urn:li:dataPlatform:postgres,lager.größe,PROD)",
    "urn:li:dataset:(urn:li:dataPlatform:postgres,lager.gro\u0308ße,PROD)",
    "urn:li:dataset:(urn:li:dataPlatform:kafka,注文.\U0001f4e6,PROD)",
    "urn:li:dataset:(urn:li:dataPlatform:kafka,注文.\U0010ffff,PROD)",
    "urn:li:dataset:(urn:li:dataPlatform:kafka,注文.\uffff,PROD)",
    "urn:li:chart:(looker,dashboards/1'; DROP TABLE assets;--)",
    'urn:li:tag:"quoted"',
    LONG,
    LONG + "1",
    LONG + "2",
    LONG + "%",
    LONG + "é" * 1_920,
    "urn:li:dataset:" + "\U0001f4e6" * 1_020,
]
"""Each allowed, each a name of its own: no engine may fold, cut or interpret any of them."""


def new(urn: str, **labels: str) -> NewAsset:
    return NewAsset(asset_id(urn), urn, platform_of(urn), labels)


def key(asset: NewAsset | Asset, part: str = "") -> SubjectKey:
    return SubjectKey(SubjectName(SubjectKind.ASSET, asset.id), part)


async def register(store: Store, *assets: NewAsset, tenant: str = "t") -> Mapping[SubjectKey, int]:
    keys = [key(asset) for asset in assets]
    return await store.subjects.register(tenant, keys, limits=Limits(), assets={asset.id: asset for asset in assets})


async def listed(store: Store, *, page: int = 1_000, tenant: str = "t", **filters: object) -> list[str]:
    """Returns the URNs of all pages, after checking that the count is theirs."""
    found: list[Asset] = []
    after: tuple[str, str] | None = None
    while assets := await store.assets.list(tenant, after=after, limit=page, **filters):  # type: ignore[arg-type]
        assert len(assets) <= page
        found += assets
        after = page_key(assets[-1])
    assert await store.assets.count(tenant, **filters) == len(found)  # type: ignore[arg-type]
    return [asset.urn for asset in found]


async def test_an_asset_is_returned_as_it_was_created(store: Store) -> None:
    created = await store.assets.create("t", new(ORDERS, team="a", env="prod"), limits=Limits())
    assert (created.id, created.urn, created.platform) == (asset_id(ORDERS), ORDERS, "postgres")
    assert created.labels == {"team": "a", "env": "prod"}
    assert (created.create_time, created.update_time) == (START, START)
    assert await store.assets.get("t", created.id) == created


async def test_a_second_create_is_refused_and_changes_nothing(store: Store) -> None:
    created = await store.assets.create("t", new(ORDERS, team="a"), limits=Limits())
    with pytest.raises(DomainError) as refused:
        await store.assets.create("t", new(ORDERS, team="b"), limits=Limits())
    assert refused.value.reason == Reason.ASSET_ALREADY_EXISTS
    assert refused.value.metadata == {"name": f"assets/{created.id}"}
    assert await store.assets.get("t", created.id) == created


async def test_of_concurrent_creates_one_succeeds(open_store: OpenStore) -> None:
    stores = [await open_store() for _ in range(2)]
    answers = await asyncio.gather(
        *(stores[n % 2].assets.create("t", new(ORDERS, n=str(n)), limits=Limits()) for n in range(6)),
        return_exceptions=True,
    )
    reasons = [answer.reason for answer in answers if isinstance(answer, DomainError)]
    assert reasons == [Reason.ASSET_ALREADY_EXISTS] * 5


async def test_a_create_beyond_the_limit_is_refused(store: Store) -> None:
    limits = Limits(max_subjects_per_tenant=1)
    created = await store.assets.create("t", new("urn:a:1"), limits=limits)
    with pytest.raises(DomainError) as refused:
        await store.assets.create("t", new("urn:a:2"), limits=limits)
    assert refused.value.reason == Reason.SUBJECT_LIMIT
    await store.assets.delete("t", created.id)
    await store.assets.create("t", new("urn:a:2"), limits=limits)


async def test_another_tenants_asset_does_not_exist(store: Store) -> None:
    asset = await store.assets.create("t", new(ORDERS, a="b"), limits=Limits())
    calls = (
        store.assets.get("other", asset.id),
        store.assets.update("other", asset.id, {"labels": {}}),
        store.assets.delete("other", asset.id),
    )
    for call in calls:
        with pytest.raises(DomainError) as refused:
            await call
        assert refused.value.reason == Reason.ASSET_NOT_FOUND
        assert refused.value.metadata == {"name": f"assets/{asset.id}"}
    assert await store.assets.get_many("other", [asset.id]) == {}
    assert await listed(store, tenant="other") == []
    assert await store.assets.get("t", asset.id) == asset
    twin = await store.assets.create("other", new(ORDERS), limits=Limits())
    await store.assets.delete("other", twin.id)
    assert await store.assets.get("t", asset.id) == asset


async def test_assets_and_sources_of_one_name_are_different_subjects(store: Store) -> None:
    asset = await store.assets.create("t", new(ORDERS), limits=Limits())
    source = await store.sources.create("t", asset.id, limits=Limits())
    await store.sources.delete("t", source.id)
    assert await store.assets.get("t", asset.id) == asset
    assert (await store.subjects.resolve("t", [source_key(asset.id), key(asset)])).keys() == {key(asset)}


async def test_every_urn_is_kept_as_it_is(store: Store) -> None:
    await register(store, *map(new, URNS))
    for urn in URNS:
        asset = await store.assets.get("t", asset_id(urn))
        assert (asset.urn, asset.platform) == (urn, platform_of(urn))
    assert {asset.urn for asset in (await store.assets.get_many("t", [asset_id(urn) for urn in URNS])).values()} == {
        *URNS
    }


async def test_get_many_returns_those_that_exist(store: Store) -> None:
    urns = [f"urn:a:{n}" for n in range(1_200)]
    await register(store, *map(new, urns))
    found = await store.assets.get_many("t", [asset_id(urn) for urn in (*urns, "urn:a:none")])
    assert {id_: asset.urn for id_, asset in found.items()} == {asset_id(urn): urn for urn in urns}
    assert await store.assets.get_many("t", []) == {}


@pytest.mark.parametrize("page", [1, 3, 1_000])
async def test_assets_are_listed_by_the_bytes_of_their_urns_page_by_page(store: Store, page: int) -> None:
    await register(store, *map(new, reversed(URNS)))
    expected = sorted(URNS, key=lambda urn: (urn[:255].encode(), asset_id(urn)))
    assert await listed(store, page=page) == expected


async def test_the_list_goes_on_where_the_last_asset_was_also_when_it_is_deleted(store: Store) -> None:
    await register(store, *map(new, ["urn:a:1", "urn:a:2", "urn:a:3"]))
    (first,) = await store.assets.list("t", limit=1)
    await store.assets.delete("t", first.id)
    rest = await store.assets.list("t", after=page_key(first), limit=9)
    assert [asset.urn for asset in rest] == ["urn:a:2", "urn:a:3"]


PREFIXES = [
    *("urn:li:dataset:", "urn:li:dataset:(urn:li:dataPlatform:s3,bucket/a", "URN:li", "urn:x", "u", ORDERS),
    *("urn:li:dataset:(urn:li:dataPlatform:s3,bucket/a%", "urn:li:dataset:(urn:li:dataPlatform:s3,bucket/a_"),
    *("urn:li:%", "urn_li", "urn:li:dataset:(urn:li:dataPlatform:s3,bucket/a\\", "%", "_", "'"),
    *("urn:li:dataset:(urn:li:dataPlatform:kafka,注", "urn:li:dataset:(urn:li:dataPlatform:kafka,注文.\U0010ffff"),
    *(LONG[:-1], LONG, LONG + "1", LONG + "_", LONG + "%", LONG + "é", LONG + "é" * 1_920, LONG + "é" * 1_921),
]


@pytest.mark.parametrize("prefix", PREFIXES, ids=range(len(PREFIXES)))
async def test_a_prefix_is_compared_character_by_character(store: Store, prefix: str) -> None:
    await register(store, *map(new, URNS))
    assert set(await listed(store, urn_prefix=prefix)) == {urn for urn in URNS if urn.startswith(prefix)}


async def test_the_list_is_filtered_by_platform_labels_and_prefix_at_once(store: Store) -> None:
    kafka = "urn:li:dataset:(urn:li:dataPlatform:kafka,{},PROD)"
    await register(
        store,
        new(kafka.format("a"), team="x", env="prod"),
        new(kafka.format("b"), team="x", env="dev"),
        new(kafka.format("c"), team="X"),
        new(ORDERS, team="x", env="prod"),
    )
    assert len(await listed(store, platform="kafka")) == 3
    assert await listed(store, platform="Kafka") == []
    assert await listed(store, platform="kafk") == []
    assert await listed(store, platform="kafka", labels={"team": "x"}, page=1) == [
        kafka.format("a"),
        kafka.format("b"),
    ]
    assert await listed(store, labels={"team": "x", "env": "prod"}) == [kafka.format("a"), ORDERS]
    assert await listed(store, urn_prefix=kafka.format("b")[:-6], labels={"env": "prod"}) == []
    assert await listed(store, platform="postgres", urn_prefix="urn:li:dataset:", labels={"env": "prod"}) == [ORDERS]


async def test_an_update_changes_labels_etag_and_time(store: Store, clock: FixedClock) -> None:
    created = await store.assets.create("t", new(ORDERS, a="1"), limits=Limits())
    clock.micros += 5
    changed = await store.assets.update("t", created.id, {"labels": {"b": "2"}}, etag=created.etag)
    assert (changed.labels, changed.create_time, changed.update_time) == ({"b": "2"}, START, START + 5)
    assert (changed.urn, changed.platform) == (created.urn, created.platform)
    assert changed.etag != created.etag
    assert await store.assets.get("t", created.id) == changed
    with pytest.raises(ValueError, match="urn"):
        await store.assets.update("t", created.id, {"urn": "urn:a:b"})


async def test_an_etag_that_is_not_the_assets_refuses_update_and_delete(store: Store) -> None:
    created = await store.assets.create("t", new(ORDERS), limits=Limits())
    changed = await store.assets.update("t", created.id, {"labels": {"a": "1"}})
    for call in (
        store.assets.update("t", created.id, {"labels": {}}, etag=created.etag),
        store.assets.delete("t", created.id, etag=created.etag),
    ):
        with pytest.raises(DomainError) as refused:
            await call
        assert refused.value.reason == Reason.ETAG_MISMATCH
        assert refused.value.metadata == {"name": f"assets/{created.id}", "etag": changed.etag}
    assert await store.assets.get("t", created.id) == changed
    await store.assets.delete("t", created.id, etag=changed.etag)


async def test_of_concurrent_updates_with_one_etag_one_succeeds(open_store: OpenStore) -> None:
    stores = [await open_store() for _ in range(2)]
    created = await stores[0].assets.create("t", new(ORDERS), limits=Limits())
    answers = await asyncio.gather(
        *(stores[n % 2].assets.update("t", created.id, {"labels": {"n": str(n)}}, etag=created.etag) for n in range(6)),
        return_exceptions=True,
    )
    reasons = [answer.reason for answer in answers if isinstance(answer, DomainError)]
    assert reasons == [Reason.ETAG_MISMATCH] * 5


async def test_an_asset_created_again_under_its_urn_starts_empty(observer: Observer) -> None:
    store = observer.store
    created = await store.assets.create("t", new(ORDERS, a="1"), limits=Limits())
    parts = [key(created), key(created, "p")]
    ids = await store.subjects.register("t", parts, limits=Limits())
    for id_ in ids.values():
        await observer.write(id_, START, {1: 1})
    await store.assets.delete("t", created.id)
    assert await store.subjects.resolve("t", parts) == {}
    with pytest.raises(SubjectGone):
        await store.blocks.append([row_write(ids[parts[0]], START, {1: 1})])

    again = await store.assets.create("t", new(ORDERS), limits=Limits())
    assert (again.id, again.labels) == (created.id, {})
    assert again.etag != created.etag
    resolved = await store.subjects.resolve("t", parts)
    assert resolved.keys() == {key(again)}
    assert resolved[key(again)] not in ids.values()
    assert await observer.samples(resolved[key(again)]) == {}
    name = SubjectName(SubjectKind.ASSET, again.id)
    latest = await store.blocks.latest("t", [name])
    assert {part: row.samples for part, row in latest[name].items()} == {"": {}}
    for id_ in ids.values():
        assert await observer.samples(id_) == {}


async def test_registering_an_asset_puts_it_into_the_catalog_once(store: Store) -> None:
    ids = await register(store, new(ORDERS, team="a"))
    asset = await store.assets.get("t", asset_id(ORDERS))
    assert (asset.urn, asset.platform, asset.labels, asset.create_time) == (ORDERS, "postgres", {"team": "a"}, START)
    assert await register(store, new(ORDERS, team="b")) == ids
    assert await store.assets.get("t", asset.id) == asset


async def test_a_part_of_an_asset_brings_its_asset_along(store: Store) -> None:
    asset = new(ORDERS)
    ids = await store.subjects.register("t", [key(asset, "p")], limits=Limits(), assets={asset.id: asset})
    assert ids.keys() == {key(asset), key(asset, "p")}
    assert (await store.assets.get("t", asset.id)).urn == ORDERS


async def test_an_asset_whose_urn_is_not_told_is_registered_neither_alone_nor_with_others(store: Store) -> None:
    known, unknown, other = new(ORDERS), new("urn:a:unknown"), new("urn:a:other")
    await register(store, known)
    await store.subjects.register("t", [key(known, "p")], limits=Limits())
    with pytest.raises(SubjectGone):
        await store.subjects.register(
            "t", [key(other), key(unknown), source_key("s")], limits=Limits(), assets={other.id: other}
        )
    assert await store.subjects.resolve("t", [key(other), key(unknown), source_key("s")]) == {}
    assert await listed(store) == [ORDERS]


async def test_thousands_of_assets_are_registered_at_once(store: Store) -> None:
    assets = [new(f"urn:li:dataset:{n:05}", n=str(n % 2)) for n in range(5_000)]
    await register(store, *assets[:100])
    ids = await register(store, *assets)
    assert len(set(ids.values())) == 5_000
    assert await listed(store, page=1_000) == [asset.urn for asset in assets]
    assert await store.assets.count("t", labels={"n": "1"}) == 2_500


async def test_the_limit_counts_assets_and_sources_together_and_only_new_ones(store: Store) -> None:
    limits = Limits(max_subjects_per_tenant=3)
    assets = [new(f"urn:a:{n}") for n in range(4)]
    by_id = {asset.id: asset for asset in assets}
    await store.subjects.register("t", [source_key("s"), key(assets[0])], limits=limits, assets=by_id)
    with pytest.raises(DomainError) as refused:
        await store.subjects.register("t", [key(asset) for asset in assets], limits=limits, assets=by_id)
    assert refused.value.reason == Reason.SUBJECT_LIMIT
    assert await store.assets.count("t") == 1
    await store.subjects.register("t", [key(asset) for asset in assets[:2]], limits=limits, assets=by_id)
    assert await store.assets.count("t") == 2


async def test_concurrent_registrations_in_two_servers_agree(open_store: OpenStore) -> None:
    stores = [await open_store() for _ in range(2)]
    assets = [new(f"urn:a:{n}", first=str(n)) for n in range(200)]
    answers = await asyncio.gather(
        *(register(stores[n % 2], *(assets[n * 10 :] if n % 3 else assets[::-1][: 200 - n * 10])) for n in range(12))
    )
    merged: dict[SubjectKey, int] = {}
    for ids in answers:
        assert all(merged.setdefault(key, id_) == id_ for key, id_ in ids.items())
    assert merged == await stores[0].subjects.resolve("t", [key(asset) for asset in assets])
    assert await stores[1].assets.count("t") == len(set(merged.values())) == 200


async def test_registrations_creates_and_deletions_race_without_leaving_halves(open_store: OpenStore) -> None:
    stores = [await open_store() for _ in range(2)]
    asset = new(ORDERS)

    async def delete(store: Store) -> None:
        await store.assets.delete("t", asset.id)

    answers = await asyncio.gather(
        *(call for n in range(8) for call in (register(stores[n % 2], asset), delete(stores[(n + 1) % 2]))),
        *(stores[n % 2].assets.create("t", asset, limits=Limits()) for n in range(4)),
        return_exceptions=True,
    )
    reasons = {answer.reason for answer in answers if isinstance(answer, DomainError)}
    assert reasons <= {Reason.ASSET_NOT_FOUND, Reason.ASSET_ALREADY_EXISTS}
    assert [
        answer for answer in answers if isinstance(answer, BaseException) and not isinstance(answer, DomainError)
    ] == []
    exists = key(asset) in await stores[0].subjects.resolve("t", [key(asset)])
    assert (await stores[0].assets.count("t") == 1) == exists
    if not exists:
        await register(stores[0], asset)
    await stores[0].assets.create("t", new("urn:a:2"), limits=Limits(max_subjects_per_tenant=2))
    with pytest.raises(DomainError, match="has 2"):
        await stores[0].assets.create("t", new("urn:a:3"), limits=Limits(max_subjects_per_tenant=2))

"""Assets: created, read by URN or name, listed, changed and deleted."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from grpc import StatusCode
from streamgauge.v1 import asset_metric_service_pb2 as pb
from streamgauge.v1 import metrics_service_pb2
from streamgauge_server.model.clock import FixedClock

from tests.rpc.asset_messages import OTHER, URN, emit, latest, moments, name_of, newest, question
from tests.rpc.messages import NOW, SECOND
from tests.rpc.serving import Start, Stubs, invalid, refused
from tests.rpc.test_sources import damaged

HOSTILE = [
    "urn:li:dataset:(urn:li:dataPlatform:s3,my-bucket/raw/year=2026/part%20one,PROD)",
    'urn:li:dataset:(urn:li:dataPlatform:snowflake,db.schema."Mixed Case",PROD)',
    "urn:li:dataset:(urn:li:dataPlatform:looker,a%2Fb%252Fc,PROD)",
    "urn:li:dataset:(urn:li:dataPlatform:hive,größe.表.🚀,PROD)",
    "urn:li:dataset:(urn:li:dataPlatform:hive,gro\u0308sse,PROD)",
    "urn:li:dashboard:(looker,100%_wild*?[x]'; DROP TABLE assets;--)",
    "urn:x:assets/0123456789012345678901234567890123456789",
    "urn:x:\\back\\slash\u00a0no-break\u200bzero",
    "urn:x:" + "y" * 4_090,
    "urn:x:" + "表" * 1_363,
]
TOO_LONG = "urn:x:" + "y" * 4_091
NOT_URNS = {
    "": "must not be empty",
    "orders": "must be a URN",
    "urn:": "must be a URN",
    "urn:x": "must be a URN",
    "urn:x:": "must be a URN",
    "urn:a b:c": "must be a URN",
    " urn:x:y": "must not begin or end with a blank",
    "urn:x:y ": "must not begin or end with a blank",
    "urn:x:y\u00a0": "must not begin or end with a blank",
    "urn:x:a\nb": "must not hold control characters",
    "urn:x:a\0b": "must not hold control characters",
    "urn:x:a\x9fb": "must not hold control characters",
    TOO_LONG: "must have at most 4096 bytes, has 4097",
    "sources/a": "must be a URN",
}


async def create(stubs: Stubs, urn: str = URN, labels: Mapping[str, str] | None = None) -> pb.Asset:
    return (await stubs.assets.CreateAsset(pb.CreateAssetRequest(asset=pb.Asset(urn=urn, labels=labels)))).asset


async def get(stubs: Stubs, asset: str = URN) -> pb.Asset:
    return (await stubs.assets.GetAsset(pb.GetAssetRequest(asset=asset))).asset


async def urns(stubs: Stubs, **filters: object) -> list[str]:
    answer = await stubs.assets.ListAssets(pb.ListAssetsRequest(**filters))  # type: ignore[arg-type]
    assert answer.total_size == len(answer.assets)
    return [asset.urn for asset in answer.assets]


async def update(stubs: Stubs, asset: pb.Asset, *paths: str) -> pb.Asset:
    request = pb.UpdateAssetRequest(asset=asset, update_mask=FieldMask(paths=paths))
    return (await stubs.assets.UpdateAsset(request)).asset


async def delete(stubs: Stubs, asset: str = URN, etag: str = "") -> None:
    await stubs.assets.DeleteAsset(pb.DeleteAssetRequest(asset=asset, etag=etag))


class TestCreate:
    async def test_a_created_asset_reads_as_it_was_stored(self, stubs: Stubs) -> None:
        created = await create(stubs, labels={"team": "shop", "empty": ""})
        assert created.name == "assets/a18106389bab493b8d764863eb17dc52d5df8e30", "stable for ever"
        assert (created.urn, created.platform) == (URN, "postgres")
        assert dict(created.labels) == {"team": "shop", "empty": ""}
        assert created.etag
        assert created.create_time.ToMicroseconds() == created.update_time.ToMicroseconds() == NOW
        assert await get(stubs) == await get(stubs, created.name) == created

    async def test_output_only_fields_are_ignored(self, stubs: Stubs) -> None:
        given = pb.Asset(name="assets/other", urn=URN, platform="oracle", etag="x")
        given.create_time.seconds = 5
        asset = (await stubs.assets.CreateAsset(pb.CreateAssetRequest(asset=given))).asset
        assert (asset.name, asset.platform) == (name_of(URN), "postgres")
        assert asset.create_time.ToMicroseconds() == NOW

    async def test_a_second_create_is_refused_and_changes_nothing(self, stubs: Stubs) -> None:
        first = await create(stubs, labels={"a": "1"})
        with refused(StatusCode.ALREADY_EXISTS, "ASSET_ALREADY_EXISTS") as refusal:
            await create(stubs)
        assert refusal.metadata["name"] == first.name
        assert await get(stubs) == first

    async def test_an_asset_that_an_emit_registered_exists_already(self, stubs: Stubs) -> None:
        await emit(stubs, {"rows": 1})
        with refused(StatusCode.ALREADY_EXISTS, "ASSET_ALREADY_EXISTS"):
            await create(stubs)
        asset = await get(stubs)
        assert (asset.urn, asset.platform, dict(asset.labels)) == (URN, "postgres", {})
        assert asset.create_time.ToMicroseconds() == NOW

    async def test_of_concurrent_creates_one_wins(self, stubs: Stubs) -> None:
        results = await asyncio.gather(
            *(create(stubs, labels={"n": str(n)}) for n in range(10)), return_exceptions=True
        )
        won = [result for result in results if isinstance(result, pb.Asset)]
        assert len(won) == 1
        assert await get(stubs) == won[0]

    @pytest.mark.parametrize(
        ("urn", "platform"),
        [
            (URN, "postgres"),
            ("urn:li:dashboard:(looker,dashboards.42)", "looker"),
            ("urn:li:dataJob:(urn:li:dataFlow:(airflow,daily,PROD),load)", "airflow"),
            ("urn:isbn:0451450523", ""),
        ],
    )
    async def test_the_platform_is_what_the_urn_names(self, stubs: Stubs, urn: str, platform: str) -> None:
        assert (await create(stubs, urn)).platform == platform

    @pytest.mark.parametrize("urn", HOSTILE)
    async def test_hostile_urns_come_back_as_they_are(self, stubs: Stubs, urn: str) -> None:
        for other in HOSTILE:
            await create(stubs, other)
        asset = await get(stubs, urn)
        assert (asset.urn, asset.name) == (urn, name_of(urn))
        assert await get(stubs, asset.name) == asset
        assert await urns(stubs, urn_prefix=urn) == [urn]
        assert await urns(stubs, urn_prefix=urn[:-1]) == [urn]
        await emit(stubs, {"rows": 7}, asset=urn)
        assert await moments(stubs, urn) == await moments(stubs, asset.name) == [(NOW, [("rows", 7)])]
        assert [entry.asset for entry in (await latest(stubs, urn)).assets] == [urn]
        await delete(stubs, urn)
        assert len(await urns(stubs)) == len(HOSTILE) - 1

    async def test_urns_that_look_alike_are_different_assets(self, stubs: Stubs) -> None:
        alike = ["urn:x:caf\u00e9", "urn:x:cafe\u0301", "urn:x:CAFE", "urn:x:cafe", "URN:x:cafe", "urn:x:caf%C3%A9"]
        for position, urn in enumerate(alike):
            await emit(stubs, {"position": position}, asset=urn)
        for position, urn in enumerate(alike):
            assert await newest(stubs, urn) == {"position": position}

    @pytest.mark.parametrize("bad", NOT_URNS)
    async def test_what_is_no_urn_is_refused_everywhere(self, stubs: Stubs, bad: str) -> None:
        for call, field in (
            (lambda: create(stubs, bad), "asset.urn"),
            (lambda: get(stubs, bad), "asset"),
            (lambda: delete(stubs, bad), "asset"),
            (lambda: stubs.assets.ListAssetMetrics(question(bad)), "asset"),
            (lambda: latest(stubs, bad), "assets[0]"),
            (lambda: stubs.assets.DeleteAssetMetrics(pb.DeleteAssetMetricsRequest(asset=bad, all=True)), "asset"),
        ):
            with invalid() as refusal:
                await call()
            assert list(refusal.violations) == [field]
            assert refusal.violations[field].startswith(NOT_URNS[bad])

    async def test_all_that_is_wrong_is_told_at_once(self, stubs: Stubs) -> None:
        labels = {"k" * 64: "v", "": "v", "a=b": "v", "long": "v" * 256, "nul": "\0"}
        with invalid() as refusal:
            await create(stubs, "orders", labels)
        assert refusal.violations.pop("asset.urn").startswith("must be a URN")
        assert refusal.violations == {
            'asset.labels["' + "k" * 63 + '"]': "the key must have at most 63 bytes, has 64",
            'asset.labels[""]': "the key must not be empty",
            'asset.labels["a=b"]': "the key must not hold '='",
            'asset.labels["long"]': "must have at most 255 bytes, has 256",
            'asset.labels["nul"]': "must not hold control characters",
        }
        with invalid() as refusal:
            await create(stubs, labels={str(n): "v" for n in range(65)})
        assert refusal.violations == {"asset.labels": "must have at most 64 entries, has 65"}
        assert await urns(stubs) == []

    async def test_a_tenant_has_as_many_assets_as_allowed(self, start: Start) -> None:
        stubs = await start(limits={"max_subjects_per_tenant": 2})
        await create(stubs, "urn:x:1")
        await create(stubs, "urn:x:2")
        with refused(StatusCode.RESOURCE_EXHAUSTED, "SUBJECT_LIMIT") as refusal:
            await create(stubs, "urn:x:3")
        assert refusal.metadata["limit"] == "2"
        assert await urns(stubs) == ["urn:x:1", "urn:x:2"]
        await delete(stubs, "urn:x:1")
        await create(stubs, "urn:x:3")


class TestGet:
    @pytest.mark.parametrize("asset", [URN, name_of(URN), "assets/none", "assets/-"])
    async def test_an_unknown_asset_is_not_found(self, stubs: Stubs, asset: str) -> None:
        await emit(stubs, {"rows": 1}, asset=OTHER)
        for call in (
            lambda: get(stubs, asset),
            lambda: delete(stubs, asset),
            lambda: stubs.assets.ListAssetMetrics(question(asset)),
            lambda: update(stubs, pb.Asset(name=asset if asset.startswith("assets/") else name_of(asset))),
        ):
            with refused(StatusCode.NOT_FOUND, "ASSET_NOT_FOUND") as refusal:
                await call()
            assert refusal.metadata["name"] == (name_of(asset) if asset == URN else asset)

    @pytest.mark.parametrize("bad", ["assets/", "assets/a/b", "assets/a b", "assets/" + "x" * 129, "assets/\0"])
    async def test_malformed_names_are_refused(self, stubs: Stubs, bad: str) -> None:
        for call, field in (
            (lambda: get(stubs, bad), "asset"),
            (lambda: delete(stubs, bad), "asset"),
            (lambda: stubs.assets.ListAssetMetrics(question(bad)), "asset"),
            (lambda: latest(stubs, bad), "assets[0]"),
        ):
            with invalid() as refusal:
                await call()
            assert list(refusal.violations) == [field]
            assert refusal.violations[field].startswith("must be 'assets/' and the 40 hexadecimal digits")


class TestList:
    async def test_pages_hold_all_assets_in_the_order_of_their_urns(self, stubs: Stubs) -> None:
        expected = sorted([*HOSTILE, URN, OTHER, "urn:x:a", "urn:x:B", "urn:x:a-b", "urn:x:\uffff", "urn:x:😀"])
        for urn in reversed(expected):
            await create(stubs, urn)
        for size in (1, 3, 1_000):
            found: list[str] = []
            token = ""
            while True:
                answer = await stubs.assets.ListAssets(pb.ListAssetsRequest(page_size=size, page_token=token))
                assert answer.total_size == len(expected)
                found.extend(asset.urn for asset in answer.assets)
                token = answer.next_page_token
                if not token:
                    break
                assert len(answer.assets) == size
            assert found == expected

    async def test_urns_that_share_255_characters_come_by_name(self, stubs: Stubs) -> None:
        alike = ["urn:x:" + "表" * 249 + tail for tail in ("", "b", "a", "表")]
        for urn in alike:
            await create(stubs, urn)
        found: list[str] = []
        token = ""
        while True:
            answer = await stubs.assets.ListAssets(pb.ListAssetsRequest(page_size=1, page_token=token))
            found.extend(asset.name for asset in answer.assets)
            token = answer.next_page_token
            if not token:
                break
        assert found == sorted(name_of(urn) for urn in alike)

    async def test_sizes_are_100_by_default_and_1000_at_most(self, stubs: Stubs) -> None:
        requests = [pb.EmitAssetMetricsRequest(asset=f"urn:x:{n:04}") for n in range(1_001)]
        for request in requests:
            request.metrics.add(name="rows").value.int64_value = 1
        await stubs.assets.BatchEmitAssetMetrics(pb.BatchEmitAssetMetricsRequest(requests=requests))
        for asked, given in ((0, 100), (1, 1), (1_000, 1_000), (1_001, 1_000), (2**31 - 1, 1_000)):
            answer = await stubs.assets.ListAssets(pb.ListAssetsRequest(page_size=asked))
            assert (len(answer.assets), answer.total_size) == (given, 1_001)

    async def test_assets_created_or_deleted_between_pages_do_not_confuse_them(self, stubs: Stubs) -> None:
        for letter in "bdf":
            await create(stubs, f"urn:x:{letter}")
        first = await stubs.assets.ListAssets(pb.ListAssetsRequest(page_size=2))
        await create(stubs, "urn:x:a")
        await create(stubs, "urn:x:e")
        await delete(stubs, "urn:x:d")
        rest = await stubs.assets.ListAssets(pb.ListAssetsRequest(page_token=first.next_page_token))
        assert [asset.urn for asset in rest.assets] == ["urn:x:e", "urn:x:f"]

    async def test_filters_on_platform_prefix_and_labels(self, stubs: Stubs) -> None:
        postgres, kafka, plain, percent = URN, OTHER, "urn:x:orders", "urn:x:100%"
        await create(stubs, postgres, {"team": "shop", "env": "prod"})
        await create(stubs, kafka, {"team": "shop", "env": "test"})
        await create(stubs, plain, {"team": ""})
        await create(stubs, percent)
        assert await urns(stubs, platform="postgres") == [postgres]
        assert await urns(stubs, platform="Postgres") == []
        assert await urns(stubs, platform="post") == []
        assert await urns(stubs, labels=["team=shop"]) == [kafka, postgres]
        assert await urns(stubs, labels=["team=shop"], platform="kafka") == [kafka]
        assert await urns(stubs, labels=["team="]) == [plain]
        assert await urns(stubs, urn_prefix="urn:li:dataset:(urn:li:dataPlatform:") == [kafka, postgres]
        assert await urns(stubs, urn_prefix="urn:x:") == [percent, plain]
        assert await urns(stubs, urn_prefix="URN:x:") == []
        assert await urns(stubs, urn_prefix="%") == []
        assert await urns(stubs, urn_prefix="urn:_:") == []
        assert await urns(stubs, urn_prefix="urn:x:100%") == [percent]
        assert await urns(stubs, urn_prefix="urn:x:", platform="kafka") == []

    async def test_all_that_is_wrong_is_told_at_once(self, stubs: Stubs) -> None:
        with invalid() as refusal:
            await urns(stubs, page_size=-1, platform="p\0", urn_prefix="x" * 4_097, labels=["x", "=v", "a=1", "a=2"])
        assert refusal.violations == {
            "page_size": "must not be negative, is -1",
            "platform": "must not hold control characters",
            "urn_prefix": "must have at most 4096 bytes, has 4097",
            "labels[0]": "must have the form 'key=value'",
            "labels[1]": "the key must not be empty",
            "labels[3]": "asks for two values of 'a'",
        }
        with invalid() as refusal:
            await urns(stubs, labels=[f"{n}=x" for n in range(17)])
        assert refusal.violations == {"labels": "must have at most 16 entries, has 17"}

    async def test_a_token_belongs_to_its_filters(self, stubs: Stubs) -> None:
        for letter in "abc":
            await create(stubs, f"urn:x:{letter}", {"k": "v"})
        first = await stubs.assets.ListAssets(pb.ListAssetsRequest(page_size=1, labels=["k=v"]))
        token = first.next_page_token
        again = pb.ListAssetsRequest(page_size=2, labels=["k=v"], page_token=token)
        assert len((await stubs.assets.ListAssets(again)).assets) == 2, "the size may change between pages"
        for other in (
            pb.ListAssetsRequest(page_token=token),
            pb.ListAssetsRequest(page_token=token, labels=["k=w"]),
            pb.ListAssetsRequest(page_token=token, labels=["k=v"], platform="p"),
            pb.ListAssetsRequest(page_token=token, labels=["k=v"], urn_prefix="urn:x:"),
        ):
            with invalid("PAGE_TOKEN_MISMATCH") as refusal:
                await stubs.assets.ListAssets(other)
            assert refusal.metadata["field"] == "page_token"
        for bad in damaged(token):
            with invalid("PAGE_TOKEN_MISMATCH"):
                await stubs.assets.ListAssets(pb.ListAssetsRequest(page_token=bad, labels=["k=v"]))


class TestUpdate:
    @pytest.mark.parametrize("mask", [(), ("*",), ("labels",)])
    async def test_labels_are_replaced_as_a_whole(self, stubs: Stubs, clock: FixedClock, mask: tuple[str, ...]) -> None:
        before = await create(stubs, labels={"a": "1", "b": "2"})
        clock.micros += SECOND
        after = await update(stubs, pb.Asset(name=before.name, labels={"b": "3"}), *mask)
        assert dict(after.labels) == {"b": "3"}
        assert (after.urn, after.platform, after.create_time) == (URN, "postgres", before.create_time)
        assert after.update_time.ToMicroseconds() == NOW + SECOND
        assert after.etag != before.etag
        assert await get(stubs) == after
        assert await urns(stubs, labels=["a=1"]) == []

    async def test_a_urn_in_an_update_is_ignored(self, stubs: Stubs) -> None:
        await create(stubs)
        after = await update(stubs, pb.Asset(name=name_of(URN), urn=OTHER, labels={"a": "1"}))
        assert after.urn == URN

    async def test_a_fresh_etag_passes_and_a_stale_one_does_not(self, stubs: Stubs) -> None:
        asset = await create(stubs)
        fresh = (await update(stubs, pb.Asset(name=asset.name, labels={"n": "1"}, etag=asset.etag))).etag
        with refused(StatusCode.ABORTED, "ETAG_MISMATCH") as refusal:
            await update(stubs, pb.Asset(name=asset.name, labels={"n": "2"}, etag=asset.etag))
        assert (refusal.metadata["name"], refusal.metadata["etag"]) == (asset.name, fresh)
        assert dict((await get(stubs)).labels) == {"n": "1"}

    async def test_all_that_is_wrong_is_told_at_once_and_changes_nothing(self, stubs: Stubs) -> None:
        before = await create(stubs)
        with invalid() as refusal:
            await update(stubs, pb.Asset(name=URN, labels={"": "v"}), "labels", "urn", "platform", "")
        assert refusal.violations == {
            "asset.name": "must be the resource name of an asset, 'assets/{asset}'",
            "update_mask.paths[1]": "must be one of labels, is 'urn'",
            "update_mask.paths[2]": "must be one of labels, is 'platform'",
            "update_mask.paths[3]": "must be one of labels, is ''",
            'asset.labels[""]': "the key must not be empty",
        }
        assert await get(stubs) == before

    async def test_emitting_metrics_does_not_change_an_asset(self, stubs: Stubs, clock: FixedClock) -> None:
        before = await create(stubs)
        clock.micros += SECOND
        await emit(stubs, {"rows": 1})
        assert await get(stubs) == before


class TestDelete:
    async def test_a_deleted_asset_is_gone_with_its_metrics(self, stubs: Stubs) -> None:
        await emit(stubs, {"rows": 1})
        await emit(stubs, {"rows": 2}, asset=OTHER)
        await delete(stubs)
        assert await urns(stubs) == [OTHER]
        for call in (
            lambda: get(stubs),
            lambda: delete(stubs),
            lambda: stubs.assets.ListAssetMetrics(question()),
            lambda: stubs.assets.DeleteAssetMetrics(pb.DeleteAssetMetricsRequest(asset=URN, all=True)),
            lambda: emit(stubs, {"rows": 3}, asset=name_of(URN)),
        ):
            with refused(StatusCode.NOT_FOUND, "ASSET_NOT_FOUND") as refusal:
                await call()
            assert refusal.metadata["name"] == name_of(URN)
        answer = await latest(stubs, URN, OTHER)
        assert list(answer.unknown_assets) == [URN]
        assert [entry.asset for entry in answer.assets] == [OTHER]

    @pytest.mark.parametrize("by_name", [False, True])
    async def test_an_asset_created_again_starts_empty(self, stubs: Stubs, by_name: bool) -> None:
        await create(stubs, labels={"a": "1"})
        await emit(stubs, {"old": 5, "both": 7}, at=NOW - SECOND)
        await delete(stubs, name_of(URN) if by_name else URN)
        asset = await create(stubs)
        assert dict(asset.labels) == {}
        assert await moments(stubs) == []
        assert await newest(stubs) == {}
        await emit(stubs, {"both": 1})
        assert await moments(stubs) == [(NOW, [("both", 1)])]
        assert await newest(stubs) == {"both": 1}

    async def test_an_emit_brings_a_deleted_asset_back_empty(self, stubs: Stubs) -> None:
        await emit(stubs, {"old": 5}, at=NOW - SECOND)
        await delete(stubs)
        await emit(stubs, {"new": 1})
        assert await moments(stubs) == [(NOW, [("new", 1)])]

    async def test_a_stale_etag_is_refused_and_deletes_nothing(self, stubs: Stubs) -> None:
        asset = await create(stubs)
        fresh = (await update(stubs, pb.Asset(name=asset.name, labels={"a": "1"}))).etag
        with refused(StatusCode.ABORTED, "ETAG_MISMATCH"):
            await delete(stubs, etag=asset.etag)
        assert await urns(stubs) == [URN]
        await delete(stubs, etag=fresh)
        assert await urns(stubs) == []

    async def test_parts_written_elsewhere_go_along(self, stubs: Stubs) -> None:
        await create(stubs)
        request = metrics_service_pb2.WriteMetricsRequest()
        for part in ("", "p"):
            observation = request.observations.add(subject=name_of(URN), part=part)
            observation.values["x"].int64_value = 1
        await stubs.metrics.WriteMetrics(request)
        await delete(stubs)
        await create(stubs)
        question = metrics_service_pb2.GetLatestMetricsRequest(subjects=[name_of(URN)], by_part=True)
        answer = await stubs.metrics.GetLatestMetrics(question)
        assert [(entry.part, len(entry.values)) for entry in answer.subjects] == [("", 0)]

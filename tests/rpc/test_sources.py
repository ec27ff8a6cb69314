"""Sources: created, read, listed, changed and deleted."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Mapping

import grpc.aio
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from grpc import StatusCode
from streamgauge.v1 import metrics_service_pb2
from streamgauge.v1 import source_service_pb2 as pb
from streamgauge_server.internal.page_token_pb2 import PageToken
from streamgauge_server.model.clock import FixedClock

from tests.rpc.messages import NOW, SECOND, ask, latest_of, row, write
from tests.rpc.serving import Stubs, invalid, refused

POSTGRES = "io.debezium.connector.postgresql.PostgresConnector"


async def create(
    stubs: Stubs,
    source_id: str = "a",
    *,
    display_name: str = "",
    connector_class: str = "",
    labels: Mapping[str, str] | None = None,
) -> pb.Source:
    source = pb.Source(display_name=display_name, connector_class=connector_class, labels=labels)
    answer = await stubs.sources.CreateSource(pb.CreateSourceRequest(source_id=source_id, source=source))
    return answer.source


async def get(stubs: Stubs, name: str = "sources/a") -> pb.Source:
    return (await stubs.sources.GetSource(pb.GetSourceRequest(name=name))).source


async def names(stubs: Stubs, **filters: object) -> list[str]:
    answer = await stubs.sources.ListSources(pb.ListSourcesRequest(**filters))  # type: ignore[arg-type]
    assert answer.total_size == len(answer.sources)
    return [source.name for source in answer.sources]


async def update(stubs: Stubs, source: pb.Source, *paths: str) -> pb.Source:
    request = pb.UpdateSourceRequest(source=source, update_mask=FieldMask(paths=paths))
    return (await stubs.sources.UpdateSource(request)).source


async def delete(stubs: Stubs, name: str = "sources/a", etag: str = "") -> None:
    await stubs.sources.DeleteSource(pb.DeleteSourceRequest(name=name, etag=etag))


class TestCreate:
    async def test_a_created_source_reads_as_it_was_stored(self, stubs: Stubs) -> None:
        created = await create(
            stubs, "orders", display_name="Orders ✓", connector_class=POSTGRES, labels={"team": "shop", "empty": ""}
        )
        assert (created.name, created.display_name, created.connector_class) == ("sources/orders", "Orders ✓", POSTGRES)
        assert dict(created.labels) == {"team": "shop", "empty": ""}
        assert created.number > 0
        assert created.etag
        assert created.create_time.ToMicroseconds() == created.update_time.ToMicroseconds() == NOW
        assert await get(stubs, "sources/orders") == created

    async def test_a_source_needs_nothing_but_an_id(self, stubs: Stubs) -> None:
        await stubs.sources.CreateSource(pb.CreateSourceRequest(source_id="bare"))
        source = await get(stubs, "sources/bare")
        assert (source.display_name, source.connector_class, dict(source.labels)) == ("", "", {})

    async def test_output_only_fields_are_ignored(self, stubs: Stubs) -> None:
        given = pb.Source(name="sources/other", number=77, etag="x")
        given.create_time.seconds = 5
        request = pb.CreateSourceRequest(source_id="a", source=given)
        source = (await stubs.sources.CreateSource(request)).source
        assert source.name == "sources/a"
        assert source.number != 77
        assert source.create_time.ToMicroseconds() == NOW

    async def test_a_second_create_is_refused_and_changes_nothing(self, stubs: Stubs) -> None:
        first = await create(stubs, display_name="first")
        with refused(StatusCode.ALREADY_EXISTS, "SOURCE_ALREADY_EXISTS") as refusal:
            await create(stubs, display_name="second")
        assert refusal.metadata["name"] == "sources/a"
        assert await get(stubs) == first

    async def test_a_source_that_a_write_registered_exists_already(self, stubs: Stubs) -> None:
        await stubs.metrics.WriteMetrics(write(row({"x": 1})))
        with refused(StatusCode.ALREADY_EXISTS, "SOURCE_ALREADY_EXISTS"):
            await create(stubs)

    async def test_of_concurrent_creates_one_wins(self, stubs: Stubs) -> None:
        results = await asyncio.gather(*(create(stubs, display_name=str(n)) for n in range(10)), return_exceptions=True)
        won = [result for result in results if isinstance(result, pb.Source)]
        assert len(won) == 1
        assert await get(stubs) == won[0]

    async def test_numbers_are_not_given_twice(self, stubs: Stubs) -> None:
        numbers = []
        for _ in range(3):
            numbers.append((await create(stubs)).number)
            await delete(stubs)
        assert len(set(numbers)) == 3

    @pytest.mark.parametrize("good", ["a", "A.b_c~d-9", "x" * 128, "...", "0"])
    async def test_good_ids_pass(self, stubs: Stubs, good: str) -> None:
        assert (await create(stubs, good)).name == f"sources/{good}"

    @pytest.mark.parametrize("bad", ["", "x" * 129, "a/b", "a b", "ä", "a\0", "a\n", ".", "..", "sources/a", "a%20"])
    async def test_bad_ids_are_refused(self, stubs: Stubs, bad: str) -> None:
        with invalid() as refusal:
            await create(stubs, bad)
        assert list(refusal.violations) == ["source_id"]
        assert await names(stubs) == []

    async def test_fields_at_their_limits_pass(self, stubs: Stubs) -> None:
        labels = {f"{n:02}" + "k" * 61: "v" * 255 for n in range(64)}
        source = await create(stubs, display_name="ä" * 127 + "x", connector_class="c" * 255, labels=labels)
        assert dict(source.labels) == labels
        assert await get(stubs) == source

    async def test_all_fields_over_their_limits_are_told_at_once(self, stubs: Stubs) -> None:
        labels = {"k" * 64: "v", "": "v", "a=b": "v", "long": "v" * 256, "nul": "\0", "k\n": "v"}
        with invalid() as refusal:
            await create(stubs, "a b", display_name="ä" * 128, connector_class="c\0", labels=labels)
        assert refusal.violations == {
            "source_id": "must have 1 to 128 characters out of letters, digits, '.', '_', '~' and '-'",
            "source.display_name": "must have at most 255 bytes, has 256",
            "source.connector_class": "must not hold control characters",
            'source.labels["' + "k" * 63 + '"]': "the key must have at most 63 bytes, has 64",
            'source.labels[""]': "the key must not be empty",
            'source.labels["a=b"]': "the key must not hold '='",
            'source.labels["long"]': "must have at most 255 bytes, has 256",
            'source.labels["nul"]': "must not hold control characters",
            'source.labels["k\n"]': "the key must not hold control characters",
        }
        assert await names(stubs) == []

    async def test_65_labels_are_too_many(self, stubs: Stubs) -> None:
        with invalid() as refusal:
            await create(stubs, labels={str(n): "" for n in range(65)})
        assert refusal.violations == {"source.labels": "must have at most 64 entries, has 65"}


class TestGet:
    async def test_an_unknown_source_is_not_found(self, stubs: Stubs) -> None:
        with refused(StatusCode.NOT_FOUND, "SOURCE_NOT_FOUND") as refusal:
            await get(stubs, "sources/none")
        assert refusal.metadata["name"] == "sources/none"

    @pytest.mark.parametrize(
        "bad", ["", "a", "sources/", "sources/a/b", "jobs/a", "sources/" + "x" * 129, "sources/\0"]
    )
    async def test_malformed_names_are_refused(self, stubs: Stubs, bad: str) -> None:
        for call, field in (
            (lambda: get(stubs, bad), "name"),
            (lambda: delete(stubs, bad), "name"),
            (lambda: update(stubs, pb.Source(name=bad)), "source.name"),
            (lambda: stubs.sources.GetSourceMetrics(ask(source=bad)), "source"),
        ):
            with invalid() as refusal:
                await call()
            assert refusal.violations == {field: "must be the resource name of a source, 'sources/{source}'"}


class TestList:
    async def test_pages_hold_all_sources_in_the_order_of_their_names(self, stubs: Stubs) -> None:
        ids = sorted(["b", "B", "a", "a-b", "a.b", "a_b", "a~b", "10", "9", "Z"], key=str.encode)
        for source_id in reversed(ids):
            await create(stubs, source_id)
        found: list[str] = []
        token = ""
        pages = 0
        while True:
            answer = await stubs.sources.ListSources(pb.ListSourcesRequest(page_size=3, page_token=token))
            assert answer.total_size == 10
            found.extend(source.name for source in answer.sources)
            pages += 1
            token = answer.next_page_token
            if not token:
                break
        assert found == [f"sources/{source_id}" for source_id in ids]
        assert pages == 4

    async def test_a_last_page_that_is_full_has_no_token(self, stubs: Stubs) -> None:
        await create(stubs, "a")
        await create(stubs, "b")
        answer = await stubs.sources.ListSources(pb.ListSourcesRequest(page_size=2))
        assert (len(answer.sources), answer.next_page_token) == (2, "")

    async def test_sizes_are_100_by_default_and_1000_at_most(self, stubs: Stubs) -> None:
        rows = [row({"x": 1}, subject=f"sources/{n:04}") for n in range(1_001)]
        await stubs.metrics.WriteMetrics(write(*rows))
        for asked, given in ((0, 100), (1, 1), (1_000, 1_000), (1_001, 1_000), (2**31 - 1, 1_000)):
            answer = await stubs.sources.ListSources(pb.ListSourcesRequest(page_size=asked))
            assert (len(answer.sources), answer.total_size) == (given, 1_001)

    async def test_sources_created_or_deleted_between_pages_do_not_confuse_them(self, stubs: Stubs) -> None:
        for source_id in "bdf":
            await create(stubs, source_id)
        first = await stubs.sources.ListSources(pb.ListSourcesRequest(page_size=2))
        await create(stubs, "a")
        await create(stubs, "e")
        await delete(stubs, "sources/d")
        rest = await stubs.sources.ListSources(pb.ListSourcesRequest(page_token=first.next_page_token))
        assert [source.name for source in rest.sources] == ["sources/e", "sources/f"]

    async def test_filters_on_labels_and_connector_class(self, stubs: Stubs) -> None:
        await create(stubs, "a", connector_class=POSTGRES, labels={"team": "shop", "env": "prod"})
        await create(stubs, "b", connector_class=POSTGRES, labels={"team": "shop", "env": "test"})
        await create(stubs, "c", connector_class="Mongo", labels={"team": "pay", "env": "prod"})
        await create(stubs, "d", labels={"team": "", "k.e'y": 'v"%_=x'})
        assert await names(stubs, labels=["team=shop"]) == ["sources/a", "sources/b"]
        assert await names(stubs, labels=["team=shop", "env=prod"]) == ["sources/a"]
        assert await names(stubs, labels=["team=shop", "team=shop"]) == ["sources/a", "sources/b"]
        assert await names(stubs, connector_class=POSTGRES, labels=["env=prod"]) == ["sources/a"]
        assert await names(stubs, labels=["team="]) == ["sources/d"]
        assert await names(stubs, labels=["""k.e'y=v"%_=x"""]) == ["sources/d"]
        assert await names(stubs, labels=["none=x"]) == []
        assert await names(stubs, connector_class="mongo") == []
        assert await names(stubs, connector_class="Mon%") == []

    async def test_all_that_is_wrong_is_told_at_once(self, stubs: Stubs) -> None:
        request = pb.ListSourcesRequest(
            page_size=-1,
            labels=["x", "=v", "k\0=v", "k=\0", "a=1", "a=2", "k" * 64 + "=v", "k=" + "v" * 256],
            connector_class="c\0",
        )
        with invalid() as refusal:
            await stubs.sources.ListSources(request)
        assert refusal.violations == {
            "page_size": "must not be negative, is -1",
            "labels[0]": "must have the form 'key=value'",
            "labels[1]": "the key must not be empty",
            "labels[2]": "the key must not hold control characters",
            "labels[3]": "the value must not hold control characters",
            "labels[5]": "asks for two values of 'a'",
            "labels[6]": "the key must have at most 63 bytes, has 64",
            "labels[7]": "the value must have at most 255 bytes, has 256",
            "connector_class": "must not hold control characters",
        }

    async def test_16_label_filters_pass_and_17_do_not(self, stubs: Stubs) -> None:
        labels = {str(n): "v" for n in range(16)}
        await create(stubs, "a", labels=labels)
        filters = [f"{key}={value}" for key, value in labels.items()]
        assert await names(stubs, labels=filters) == ["sources/a"]
        with invalid() as refusal:
            await names(stubs, labels=[*filters, "x=y"])
        assert refusal.violations == {"labels": "must have at most 16 entries, has 17"}

    async def test_a_token_belongs_to_its_filters(self, stubs: Stubs) -> None:
        for source_id in "abc":
            await create(stubs, source_id, labels={"k": "v"}, connector_class="C")
        first = await stubs.sources.ListSources(pb.ListSourcesRequest(page_size=1, labels=["k=v"]))
        token = first.next_page_token
        again = pb.ListSourcesRequest(page_size=2, labels=["k=v"], page_token=token)
        assert len((await stubs.sources.ListSources(again)).sources) == 2, "the size may change between pages"
        for other in (
            pb.ListSourcesRequest(page_token=token),
            pb.ListSourcesRequest(page_token=token, labels=["k=w"]),
            pb.ListSourcesRequest(page_token=token, labels=["k=v"], connector_class="C"),
        ):
            with invalid("PAGE_TOKEN_MISMATCH") as refusal:
                await stubs.sources.ListSources(other)
            assert refusal.metadata["field"] == "page_token"

    async def test_a_token_of_another_list_is_refused(self, stubs: Stubs) -> None:
        request = metrics_service_pb2.ListMetricDescriptorsRequest(page_size=1)
        token = (await stubs.metrics.ListMetricDescriptors(request)).next_page_token
        assert token
        with invalid("PAGE_TOKEN_MISMATCH"):
            await stubs.sources.ListSources(pb.ListSourcesRequest(page_token=token))

    async def test_damaged_and_forged_tokens_are_refused(self, stubs: Stubs) -> None:
        await create(stubs, "a")
        await create(stubs, "b")
        token = (await stubs.sources.ListSources(pb.ListSourcesRequest(page_size=1))).next_page_token
        for bad in damaged(token):
            with invalid("PAGE_TOKEN_MISMATCH"):
                await stubs.sources.ListSources(pb.ListSourcesRequest(page_token=bad))


def damaged(token: str) -> list[str]:
    """Tokens that this server never gave out: broken ones, and such that somebody built who knows the format."""
    genuine = PageToken.FromString(decoded(token))
    digest = genuine.request_digest
    forged = [
        PageToken(request_digest=digest),
        PageToken(request_digest=digest, after=[]),
        PageToken(request_digest=digest, after=["\0"] * len(genuine.after)),
        PageToken(request_digest=digest, after=["x" * 100_000] * len(genuine.after)),
        PageToken(request_digest=digest, after=["9" * 5_000] * len(genuine.after)),
        PageToken(request_digest=digest, after=[*genuine.after, "more"]),
        PageToken(request_digest=digest, after=["'; DROP TABLE sources"] * len(genuine.after)),
        PageToken(request_digest=digest[:-1], after=genuine.after),
        PageToken(after=genuine.after),
    ]
    broken = [
        "x",
        "!!!!",
        token[:-3],
        token + "AAAA",
        token[4:],
        "ä",
        " " + token,
        token + "\n",
        "A" * 100_000,
        "=" * 7,
    ]
    return broken + [encoded(message.SerializeToString()) for message in forged]


def decoded(token: str) -> bytes:
    return base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


class TestUpdate:
    async def test_only_the_fields_of_the_mask_change(self, stubs: Stubs, clock: FixedClock) -> None:
        before = await create(stubs, display_name="old", connector_class="C", labels={"a": "1"})
        clock.micros += SECOND
        after = await update(stubs, pb.Source(name="sources/a", display_name="new", labels={"b": "2"}), "display_name")
        assert (after.display_name, after.connector_class, dict(after.labels)) == ("new", "C", {"a": "1"})
        assert after.etag != before.etag
        assert after.number == before.number
        assert after.create_time == before.create_time
        assert after.update_time.ToMicroseconds() == NOW + SECOND
        assert await get(stubs) == after

    @pytest.mark.parametrize("mask", [(), ("*",), ("display_name", "connector_class", "labels")])
    async def test_without_a_mask_all_fields_change(self, stubs: Stubs, mask: tuple[str, ...]) -> None:
        await create(stubs, display_name="old", connector_class="C", labels={"a": "1"})
        after = await update(stubs, pb.Source(name="sources/a", labels={"b": "2"}), *mask)
        assert (after.display_name, after.connector_class, dict(after.labels)) == ("", "", {"b": "2"})

    async def test_labels_are_replaced_as_a_whole(self, stubs: Stubs) -> None:
        await create(stubs, labels={"a": "1", "b": "2"})
        after = await update(stubs, pb.Source(name="sources/a", labels={"b": "3"}), "labels")
        assert dict(after.labels) == {"b": "3"}
        assert await names(stubs, labels=["a=1"]) == []

    async def test_a_fresh_etag_passes_and_a_stale_one_does_not(self, stubs: Stubs) -> None:
        stale = (await create(stubs)).etag
        fresh = (await update(stubs, pb.Source(name="sources/a", display_name="1", etag=stale))).etag
        with refused(StatusCode.ABORTED, "ETAG_MISMATCH") as refusal:
            await update(stubs, pb.Source(name="sources/a", display_name="2", etag=stale))
        assert (refusal.metadata["name"], refusal.metadata["etag"]) == ("sources/a", fresh)
        assert (await get(stubs)).display_name == "1"
        await update(stubs, pb.Source(name="sources/a", display_name="3"))
        assert (await get(stubs)).display_name == "3", "without an etag the last one wins"

    async def test_of_concurrent_updates_with_one_etag_one_wins(self, stubs: Stubs) -> None:
        etag = (await create(stubs)).etag
        results = await asyncio.gather(
            *(update(stubs, pb.Source(name="sources/a", display_name=str(n), etag=etag)) for n in range(10)),
            return_exceptions=True,
        )
        assert sum(isinstance(result, pb.Source) for result in results) == 1

    async def test_an_unknown_source_is_not_found(self, stubs: Stubs) -> None:
        with refused(StatusCode.NOT_FOUND, "SOURCE_NOT_FOUND"):
            await update(stubs, pb.Source(name="sources/none", display_name="x"))
        assert await names(stubs) == []

    async def test_all_that_is_wrong_is_told_at_once_and_changes_nothing(self, stubs: Stubs) -> None:
        before = await create(stubs)
        with invalid() as refusal:
            await update(
                stubs,
                pb.Source(name="a", display_name="\0"),
                "display_name",
                "name",
                "number",
                "labels.x",
                "labels",
                "",
            )
        allowed = "must be one of display_name, connector_class, labels, is "
        assert refusal.violations == {
            "source.name": "must be the resource name of a source, 'sources/{source}'",
            "update_mask.paths[1]": allowed + "'name'",
            "update_mask.paths[2]": allowed + "'number'",
            "update_mask.paths[3]": allowed + "'labels.x'",
            "update_mask.paths[5]": allowed + "''",
            "source.display_name": "must not hold control characters",
        }
        assert await get(stubs) == before

    async def test_writing_metrics_does_not_change_a_source(self, stubs: Stubs, clock: FixedClock) -> None:
        before = await create(stubs)
        clock.micros += SECOND
        await stubs.metrics.WriteMetrics(write(row({"x": 1}), row({"x": 1}, part="p")))
        assert await get(stubs) == before


class TestDelete:
    async def test_a_deleted_source_is_gone_with_its_parts_and_metrics(self, stubs: Stubs) -> None:
        await stubs.metrics.WriteMetrics(
            write(row({"x": 1}), row({"x": 2}, part="p"), row({"x": 3}, subject="sources/b"))
        )
        await delete(stubs)
        assert await names(stubs) == ["sources/b"]
        for call in (
            lambda: get(stubs),
            lambda: delete(stubs),
            lambda: stubs.sources.GetSourceMetrics(ask("LATEST")),
            lambda: stubs.sources.GetSourceMetrics(ask("TIMESERIES")),
        ):
            with refused(StatusCode.NOT_FOUND, "SOURCE_NOT_FOUND"):
                await call()
        request = metrics_service_pb2.GetLatestMetricsRequest(subjects=["sources/a", "sources/b"])
        answer = await stubs.metrics.GetLatestMetrics(request)
        assert list(answer.unknown_subjects) == ["sources/a"]
        assert [latest_of(entry) for entry in answer.subjects] == [{"x": 3}]

    async def test_a_source_created_again_starts_empty(self, stubs: Stubs) -> None:
        await create(stubs, labels={"a": "1"}, display_name="old")
        await stubs.metrics.WriteMetrics(write(row({"byteTotal": 5}), row({"byteTotal": 7}, part="p")))
        await delete(stubs)
        source = await create(stubs)
        assert (source.display_name, dict(source.labels)) == ("", {})
        answer = await stubs.sources.GetSourceMetrics(ask("LATEST"))
        assert set(latest_of(answer).values()) == {None}
        await stubs.metrics.WriteMetrics(write(row({"byteTotal": 1}, at=NOW + 1)))
        answer = await stubs.sources.GetSourceMetrics(ask("LATEST", metrics=["byteTotal"]))
        assert latest_of(answer) == {"byteTotal": 1}, "nothing is left of the first life"

    async def test_a_stale_etag_is_refused_and_deletes_nothing(self, stubs: Stubs) -> None:
        stale = (await create(stubs)).etag
        fresh = (await update(stubs, pb.Source(name="sources/a", display_name="x"))).etag
        with refused(StatusCode.ABORTED, "ETAG_MISMATCH"):
            await delete(stubs, etag=stale)
        assert await names(stubs) == ["sources/a"]
        await delete(stubs, etag=fresh)
        assert await names(stubs) == []

    async def test_deleting_while_others_write_leaves_all_or_nothing(self, stubs: Stubs) -> None:
        async def tried(call: Awaitable[object]) -> StatusCode:
            try:
                await call
            except grpc.aio.AioRpcError as error:
                return error.code()
            return StatusCode.OK

        async def keep_writing() -> set[StatusCode]:
            rows = [row({"x": n, "y": n}, at=NOW - 100 + n, part="p") for n in range(30)]
            return {await tried(stubs.metrics.WriteMetrics(write(one))) for one in rows}

        async def keep_deleting() -> set[StatusCode]:
            return {await tried(delete(stubs)) for _ in range(30)}

        *written, deleted = await asyncio.gather(*(keep_writing() for _ in range(3)), keep_deleting())
        assert deleted == {StatusCode.OK, StatusCode.NOT_FOUND}
        assert set().union(*written) <= {StatusCode.OK, StatusCode.ABORTED}, "deleted twice in a row is a conflict"
        await stubs.metrics.WriteMetrics(write(row({"x": 99, "y": 99})))
        request = metrics_service_pb2.GetLatestMetricsRequest(subjects=["sources/a"], by_part=True)
        for entry in (await stubs.metrics.GetLatestMetrics(request)).subjects:
            values = latest_of(entry)
            assert values.get("x") == values.get("y")

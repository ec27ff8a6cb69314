"""Bad input: a status or an error of the item, with its reason and its field, and nothing stored of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import grpc.aio
import pytest
from grpc import StatusCode
from streamgauge.v1 import common_pb2, errors_pb2, source_service_pb2
from streamgauge.v1 import metrics_service_pb2 as pb
from streamgauge_server.model.clock import FixedClock
from streamgauge_server.model.entities import Caller
from streamgauge_server.services.tokens import Tokens

from tests.rpc.messages import NOW, SECOND, Scalar, ask, batch, column, frame, latest_of, query, row, write
from tests.rpc.serving import Start, Stubs, invalid, refused

LAST_SECOND = 253_402_300_799
"""9999-12-31T23:59:59Z."""
ADMIN = frozenset({"admin"})
Header: TypeAlias = tuple[tuple[str, str], ...]
EXACTLY = 16 * 1024 * 1024


async def assert_nothing_stored(stubs: Stubs) -> None:
    sources = await stubs.sources.ListSources(source_service_pb2.ListSourcesRequest())
    metrics = await stubs.metrics.ListMetricDescriptors(pb.ListMetricDescriptorsRequest(page_size=1_000))
    assert not sources.sources
    assert all(descriptor.built_in for descriptor in metrics.metric_descriptors)


async def both_ways(stubs: Stubs, observation: common_pb2.Observation) -> list[pb.WriteError]:
    """Writes one observation in row form and, where its values allow it, in column form; returns all errors."""
    errors = list((await stubs.metrics.WriteMetrics(write(observation))).errors)
    columns = []
    for metric, value in observation.values.items():
        kind = value.WhichOneof("kind")
        columns.append(common_pb2.Column(metric=metric) if kind is None else column(metric, [getattr(value, kind)]))
    at = observation.time.seconds * SECOND + observation.time.nanos // 1_000
    one = common_pb2.Frame(
        subject=observation.subject,
        part=observation.part,
        time_unix_micros=[max(at, 0)],
        columns=columns,
    )
    if observation.HasField("start_time"):
        one.start_time.CopyFrom(observation.start_time)
    errors.extend((await stubs.metrics.ImportMetrics(iter([batch(one)]))).errors)
    return errors


VALUES: dict[str, tuple[Any, str]] = {
    "nan": (float("nan"), "must be finite, is nan"),
    "infinity": (float("inf"), "must be finite, is inf"),
    "minus infinity": (float("-inf"), "must be finite, is -inf"),
    "a text of 4,097 bytes": ("ä" * 2_048 + "x", "must have at most 4096 bytes, has 4097"),
    "NUL in a text": ("a\0b", "must not hold NUL"),
}


@pytest.mark.parametrize("value", VALUES)
async def test_bad_values_are_refused_in_rows_and_columns(stubs: Stubs, value: str) -> None:
    given, problem = VALUES[value]
    errors = await both_ways(stubs, row({"x": given}))
    assert [(e.metric, e.reason) for e in errors] == [("x", errors_pb2.ERROR_REASON_INVALID_FIELD)] * 2
    assert all(error.message.endswith(f": {problem}") for error in errors)
    await assert_nothing_stored(stubs)


async def test_texts_at_their_limit_pass_and_other_control_characters_are_text(stubs: Stubs) -> None:
    values: dict[str, Scalar] = {"limit": "ä" * 2_048, "control": "\x01\n\t\x7f\u200b", "quote": "'\"\\"}
    assert await both_ways(stubs, row(values)) == []
    (entry,) = (await stubs.metrics.GetLatestMetrics(pb.GetLatestMetricsRequest(subjects=["sources/a"]))).subjects
    assert latest_of(entry) == values


@pytest.mark.parametrize(
    ("metric", "problem"),
    [
        ("", "must not be empty"),
        ("x" * 256, "must have at most 255 characters, has 256"),
        ("ä" * 256, "must have at most 255 characters, has 256"),
        ("a\0", "must not hold control characters"),
        ("a\nb", "must not hold control characters"),
        ("a\x7f", "must not hold control characters"),
        ("a\x85", "must not hold control characters"),
    ],
)
async def test_bad_metric_names_are_refused_everywhere(stubs: Stubs, metric: str, problem: str) -> None:
    errors = await both_ways(stubs, row({metric: 1}))
    assert len(errors) == 2
    assert all(error.message.endswith(f": {problem}") for error in errors)
    await assert_nothing_stored(stubs)
    latest = pb.GetLatestMetricsRequest(subjects=["sources/a"], metrics=[metric])
    calls: list[Callable[[], Any]] = [
        lambda: stubs.sources.GetSourceMetrics(ask(metrics=[metric])),
        lambda: stubs.metrics.QueryMetrics(query(metrics=[metric])),
        lambda: stubs.metrics.GetLatestMetrics(latest),
    ]
    for call in calls:
        with invalid() as refusal:
            await call()
        assert refusal.violations == {"metrics[0]": problem}


@pytest.mark.parametrize("metric", ["x" * 255, "ä" * 255, "👋" * 255, "a b", "%s", "{}"])
async def test_metric_names_at_their_limits_pass(stubs: Stubs, metric: str) -> None:
    assert await both_ways(stubs, row({metric: 1})) == []
    answer = await stubs.metrics.QueryMetrics(query(metrics=[metric], end=NOW + 1))
    assert [c.metric for c in answer.series[0].columns] == [metric]


@pytest.mark.parametrize(
    ("part", "problem"),
    [
        ("p" * 256, "must have at most 255 bytes, has 256"),
        ("ä" * 128, "must have at most 255 bytes, has 256"),
        ("p\0", "must not hold control characters"),
        ("\n", "must not hold control characters"),
    ],
)
async def test_bad_parts_are_refused(stubs: Stubs, part: str, problem: str) -> None:
    errors = await both_ways(stubs, row({"x": 1}, part=part))
    assert [error.message for error in errors] == [f"part: {problem}"] * 2
    await assert_nothing_stored(stubs)


@pytest.mark.parametrize("part", ["p" * 255, "task=0,topic=public.orders", " ", "ä/=,"])
async def test_parts_at_their_limits_pass(stubs: Stubs, part: str) -> None:
    assert await both_ways(stubs, row({"x": 1}, part=part)) == []


@pytest.mark.parametrize(
    "subject",
    [
        "", "a", "/a", "sources", "sources/", "Sources/a", "sources/a/", "sources/a/b", "sources/a b", "sources/ä",
        "sources/a\0", "sources/..", "sources/" + "x" * 129, "things/a", "metricTypes/a", "metricTypes/a/choices/",
        "metricTypes/a/b/c", "x" * 10_000,
    ],
)  # fmt: skip
async def test_bad_subjects_are_refused_everywhere(stubs: Stubs, subject: str) -> None:
    errors = await both_ways(stubs, row({"x": 1}, subject=subject))
    form = "must be the resource name of a subject, such as 'sources/orders'"
    assert [error.message for error in errors] == [f"subject: {form}"] * 2
    assert all(error.subject == subject[:255] for error in errors)
    await assert_nothing_stored(stubs)
    for call in (
        lambda: stubs.metrics.QueryMetrics(query(subject)),
        lambda: stubs.metrics.GetLatestMetrics(pb.GetLatestMetricsRequest(subjects=[subject])),
    ):
        with invalid() as refusal:
            await call()
        assert refusal.violations == {"subjects[0]": form}


class TestMoments:
    @pytest.mark.parametrize(
        ("seconds", "nanos", "problem"),
        [
            (-1, 0, "must not be before 1970-01-01T00:00:00Z"),
            (-1, 999_999_999, "must not be before 1970-01-01T00:00:00Z"),
            (-62_135_596_800, 0, "must not be before 1970-01-01T00:00:00Z"),
            (-(2**63), 0, "must not be before 1970-01-01T00:00:00Z"),
            (LAST_SECOND + 1, 0, "must not be after the year 9999"),
            (2**63 - 1, 0, "must not be after the year 9999"),
            (NOW // SECOND + 600, 1_000, "must be at most 600 s ahead of the server's clock (2026-01-01T12:00:00Z)"),
            (LAST_SECOND, 999_999_999, "must be at most 600 s ahead of the server's clock (2026-01-01T12:00:00Z)"),
            (0, -1, "is not a valid timestamp: nanos must be between 0 and 999,999,999"),
            (0, 1_000_000_000, "is not a valid timestamp: nanos must be between 0 and 999,999,999"),
        ],
    )
    async def test_bad_ones_are_refused(self, stubs: Stubs, seconds: int, nanos: int, problem: str) -> None:
        observation = row({"x": 1})
        observation.time.seconds, observation.time.nanos = seconds, nanos
        (error,) = (await stubs.metrics.WriteMetrics(write(observation))).errors
        assert error.message.startswith(f"time: {problem}")
        assert error.reason == errors_pb2.ERROR_REASON_INVALID_FIELD
        await assert_nothing_stored(stubs)

    @pytest.mark.parametrize(
        ("seconds", "nanos"), [(0, 0), (0, 999), (NOW // SECOND + 600, 0), (NOW // SECOND + 600, 999)]
    )
    async def test_the_first_and_the_last_that_are_allowed_pass(self, stubs: Stubs, seconds: int, nanos: int) -> None:
        observation = row({"x": 1})
        observation.time.seconds, observation.time.nanos = seconds, nanos
        assert (await stubs.metrics.WriteMetrics(write(observation))).accepted_count == 1

    @pytest.mark.parametrize(
        ("seconds", "nanos", "problem"),
        [
            (NOW // SECOND, 1_000, "must not be after the moment of the sample"),
            (LAST_SECOND + 1, 0, "must not be after the moment of the sample"),
            (-1, 0, "must not be before 1970-01-01T00:00:00Z"),
            (0, -5, "is not a valid timestamp: nanos must be between 0 and 999,999,999"),
        ],
    )
    async def test_bad_start_times_are_refused(self, stubs: Stubs, seconds: int, nanos: int, problem: str) -> None:
        observation = row({"x": 1})
        observation.start_time.seconds, observation.start_time.nanos = seconds, nanos
        errors = await both_ways(stubs, observation)
        assert [error.message for error in errors] == [f"start_time: {problem}"] * 2
        await assert_nothing_stored(stubs)

    async def test_a_start_time_equal_to_the_moment_passes(self, stubs: Stubs) -> None:
        assert await both_ways(stubs, row({"x": 1}, start=NOW)) == []


class TestRequestIds:
    @pytest.mark.parametrize("request_id", ["x" * 129, "ä", "a\n", "a\0", "\x7f"])
    async def test_bad_ones_are_refused(self, stubs: Stubs, request_id: str) -> None:
        with invalid() as refusal:
            await stubs.metrics.WriteMetrics(write(row({"x": 1}), request_id=request_id))
        assert list(refusal.violations) == ["request_id"]
        await assert_nothing_stored(stubs)

    @pytest.mark.parametrize("request_id", ["x" * 128, " ", "~", "'; --"])
    async def test_good_ones_pass(self, stubs: Stubs, request_id: str) -> None:
        assert (await stubs.metrics.WriteMetrics(write(row({"x": 1}), request_id=request_id))).accepted_count == 1


class TestMessages:
    async def test_a_request_of_16_mib_passes_and_one_byte_more_does_not(self, stubs: Stubs) -> None:
        request = source_service_pb2.GetSourceRequest(name="x" * EXACTLY)
        request.name = "x" * (2 * EXACTLY - request.ByteSize())
        assert request.ByteSize() == EXACTLY
        with invalid() as refusal:
            await stubs.sources.GetSource(request)
        assert list(refusal.violations) == ["name"], "it was read"
        request.name += "x"
        with refused(StatusCode.RESOURCE_EXHAUSTED, "MESSAGE_TOO_LARGE") as refusal:
            await stubs.sources.GetSource(request)
        assert refusal.metadata["field"] == "request"
        assert (refusal.metadata["limit"], refusal.metadata["actual"]) == (str(EXACTLY), str(EXACTLY + 1))

    async def test_a_message_of_a_stream_over_16_mib_ends_the_stream(self, stubs: Stubs) -> None:
        texts = ["x" * 4_000] * 5_000
        large = batch(frame([NOW - n for n in range(5_000)], column("t", texts)))
        with refused(StatusCode.RESOURCE_EXHAUSTED, "MESSAGE_TOO_LARGE") as refusal:
            await stubs.metrics.ImportMetrics(iter([large]))
        assert refusal.metadata["actual"] == str(large.ByteSize())
        await assert_nothing_stored(stubs)

    async def test_a_request_far_too_large_is_refused_by_the_transport_and_the_server_goes_on(
        self, stubs: Stubs
    ) -> None:
        request = source_service_pb2.GetSourceRequest(name="x" * 40_000_000)
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await stubs.sources.GetSource(request)
        assert raised.value.code() == StatusCode.RESOURCE_EXHAUSTED
        await assert_nothing_stored(stubs)

    @pytest.mark.parametrize("data", [b"\xff", b"\x0a\xff", b"\x0a\x02\xff\xfe", b"\x0b" * 200])
    async def test_what_is_no_message_is_refused(self, stubs: Stubs, data: bytes) -> None:
        """Broken tags, a length beyond the end, text that is no UTF-8, groups without an end."""
        raw: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = stubs.channel.unary_unary(
            "/streamgauge.v1.SourceService/GetSource"
        )
        with invalid():
            await raw(data)

    async def test_fields_of_a_later_version_are_ignored(self, stubs: Stubs) -> None:
        raw: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = stubs.channel.unary_unary(
            "/streamgauge.v1.MetricsService/WriteMetrics"
        )
        data = write(row({"x": 1})).SerializeToString() + b"\xfa\x3f\x03new"
        assert pb.WriteMetricsResponse.FromString(await raw(data)).accepted_count == 1

    async def test_an_unknown_method_is_unimplemented(self, stubs: Stubs) -> None:
        for path in ("/streamgauge.v1.SourceService/Nonsense", "/nonsense", "/streamgauge.v9.SourceService/GetSource"):
            raw: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = stubs.channel.unary_unary(path)
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await raw(b"")
            assert raised.value.code() == StatusCode.UNIMPLEMENTED

    async def test_empty_requests_never_break_anything(self, stubs: Stubs) -> None:
        """Every method answers an empty request with an answer or with the field that it lacks."""
        services = [
            source_service_pb2.DESCRIPTOR.services_by_name["SourceService"],
            pb.DESCRIPTOR.services_by_name["MetricsService"],
        ]
        for service in services:
            for method in service.methods:
                path = f"/{service.full_name}/{method.name}"
                try:
                    if method.client_streaming:
                        stream: grpc.aio.StreamUnaryMultiCallable[bytes, bytes] = stubs.channel.stream_unary(path)
                        await stream(iter([b""]))
                    else:
                        unary: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = stubs.channel.unary_unary(path)
                        await unary(b"")
                except grpc.aio.AioRpcError as error:
                    if error.code() != StatusCode.INVALID_ARGUMENT:
                        raise


class TestTenants:
    """Another tenant's things do not exist, whatever one asks about them."""

    @pytest.fixture
    async def tenants(self, start: Start, clock: FixedClock) -> tuple[Stubs, Header, Header]:
        """A server with the token headers of two tenants; the first one has a source with values."""
        stubs = await start()
        assert stubs.app is not None
        assert stubs.app.store is not None
        tokens = Tokens(stubs.app.store, clock)
        scopes = ["read:source_metrics", "write:source_metrics"]
        one, other = [
            (("authorization", f"Bearer {(await tokens.create(Caller(tenant, ADMIN), scopes=scopes))[1]}"),)
            for tenant in ("one", "two")
        ]
        request = write(row({"byteTotal": 5, "own": 1}), row({"own": 2}, part="p"), request_id="r-1")
        await stubs.metrics.WriteMetrics(request, metadata=one)
        return stubs, one, other

    async def test_a_source_of_another_tenant_is_not_found(self, tenants: tuple[Stubs, Header, Header]) -> None:
        stubs, one, other = tenants
        source = source_service_pb2.Source(name="sources/a", display_name="mine")
        calls: list[Callable[[], Any]] = [
            lambda: stubs.sources.GetSource(source_service_pb2.GetSourceRequest(name="sources/a"), metadata=other),
            lambda: stubs.sources.UpdateSource(source_service_pb2.UpdateSourceRequest(source=source), metadata=other),
            lambda: stubs.sources.DeleteSource(
                source_service_pb2.DeleteSourceRequest(name="sources/a"), metadata=other
            ),
            *(
                lambda time_type=time_type: stubs.sources.GetSourceMetrics(ask(time_type), metadata=other)
                for time_type in ("TIMESERIES", "TIMESUMMARY", "LATEST")
            ),
        ]
        for call in calls:
            with refused(StatusCode.NOT_FOUND, "SOURCE_NOT_FOUND"):
                await call()
        answer = await stubs.metrics.QueryMetrics(query(), metadata=other)
        assert (list(answer.series), list(answer.unknown_subjects)) == ([], ["sources/a"])
        latest = pb.GetLatestMetricsRequest(subjects=["sources/a"])
        assert list((await stubs.metrics.GetLatestMetrics(latest, metadata=other)).unknown_subjects) == ["sources/a"]
        listed = source_service_pb2.ListSourcesRequest()
        assert (await stubs.sources.ListSources(listed, metadata=other)).total_size == 0
        assert (await stubs.sources.ListSources(listed, metadata=one)).sources[0].display_name == ""

    async def test_names_metrics_and_request_ids_of_tenants_do_not_meet(
        self, tenants: tuple[Stubs, Header, Header]
    ) -> None:
        stubs, one, other = tenants
        with refused(StatusCode.NOT_FOUND, "METRIC_NOT_FOUND"):
            name = "metricDescriptors/sources/own"
            await stubs.metrics.GetMetricDescriptor(pb.GetMetricDescriptorRequest(name=name), metadata=other)
        request = write(row({"own": "text"}), request_id="r-1")
        assert (await stubs.metrics.WriteMetrics(request, metadata=other)).accepted_count == 1
        latest = pb.GetLatestMetricsRequest(subjects=["sources/a"])
        (mine,) = (await stubs.metrics.GetLatestMetrics(latest, metadata=other)).subjects
        assert latest_of(mine) == {"own": "text"}
        (theirs,) = (await stubs.metrics.GetLatestMetrics(latest, metadata=one)).subjects
        assert latest_of(theirs) == {"byteTotal": 5, "own": 3}
        await stubs.sources.DeleteSource(source_service_pb2.DeleteSourceRequest(name="sources/a"), metadata=other)
        (theirs,) = (await stubs.metrics.GetLatestMetrics(latest, metadata=one)).subjects
        assert latest_of(theirs) == {"byteTotal": 5, "own": 3}

    async def test_a_page_token_opens_no_other_tenants_list(self, tenants: tuple[Stubs, Header, Header]) -> None:
        stubs, one, other = tenants
        await stubs.metrics.WriteMetrics(write(row({"x": 1}, subject="sources/b")), metadata=one)
        await stubs.metrics.WriteMetrics(write(row({"x": 1}, subject="sources/z")), metadata=other)
        request = source_service_pb2.ListSourcesRequest(page_size=1)
        token = (await stubs.sources.ListSources(request, metadata=one)).next_page_token
        request.page_token = token
        answer = await stubs.sources.ListSources(request, metadata=other)
        assert [source.name for source in answer.sources] == ["sources/z"]

"""The steps around a call: their order, the request id, the time, the end of streams, errors, log and metrics."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from prometheus_client import CollectorRegistry, generate_latest
from streamgauge.v1 import server_service_pb2, source_service_pb2
from streamgauge_server.app import App
from streamgauge_server.model.errors import DomainError, Reason
from streamgauge_server.rpc import observation
from streamgauge_server.rpc.context import current_call, current_caller
from streamgauge_server.rpc.scopes import METHOD_SCOPES, OPEN
from streamgauge_server.rpc.waits import METHOD_WAITS
from structlog.testing import capture_logs

from tests.rpc.serving import Start, refused

SECRETS = ("hunter2", "ZeroDivisionError", "test_steps")


def info(error: grpc.aio.AioRpcError) -> error_details_pb2.ErrorInfo:
    status = rpc_status.from_call(error)  # type: ignore[arg-type]  # the stubs know the call of the other stack only
    assert status is not None
    message = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(message)
    return message


async def echo(request: bytes, context: Any) -> bytes:
    return request


def unary(behaviour: Any) -> Any:
    return grpc.unary_unary_rpc_method_handler(behaviour)


class Gate:
    """A handler that waits, and tells how it ended."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.open = asyncio.Event()
        self.cancelled = False

    async def handle(self, request: bytes, context: Any) -> bytes:
        self.entered.set()
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        return b"done"


async def test_the_steps_stand_in_their_order(app: App) -> None:
    assert app.interceptor is not None
    assert [step.name for step in app.interceptor.steps] == [
        "request_context",
        "access_log",
        "server_metrics",
        "deadline",
        "authentication",
        "error_mapping",
    ]


async def test_every_method_that_is_served_is_in_the_table_of_scopes_and_the_other_way_round(app: App) -> None:
    assert app.interceptor is not None
    assert set(app.interceptor.methods) == set(METHOD_SCOPES)


async def test_a_method_without_an_entry_in_the_table_of_scopes_is_not_served(serve: Any) -> None:
    async with serve({}) as bare:
        with pytest.raises(LookupError, match="table of scopes"):
            bare.interceptor.register("other.Service", {"Echo": unary(echo)})


async def test_a_method_that_nobody_has_written_is_found_when_it_is_registered(serve: Any) -> None:
    with pytest.raises(TypeError, match="not implemented"):
        async with serve({"Plain": unary(lambda request, context: request)}):
            pass


async def test_an_unknown_method_is_unimplemented(serve: Any) -> None:
    async with serve({"Echo": unary(echo)}) as bare:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await bare.unary("Other")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_the_request_id_of_the_caller_comes_back(serve: Any) -> None:
    seen = []

    async def handler(request: bytes, context: Any) -> bytes:
        seen.append(current_call().request_id)
        return b""

    async with serve({"Get": unary(handler)}) as bare:
        call = bare.channel.unary_unary("/test.Service/Get")(b"", metadata=(("x-request-id", "trace/1:a.b"),))
        await call
        assert dict(tuple(await call.trailing_metadata()))["x-request-id"] == "trace/1:a.b"
    assert seen == ["trace/1:a.b"]


@pytest.mark.parametrize("sent", ["", "a b", "x" * 129, "<script>", None])
async def test_a_request_id_that_is_missing_or_not_sane_is_replaced(serve: Any, sent: str | None) -> None:
    async with serve({"Get": unary(echo)}) as bare:
        metadata = () if sent is None else (("x-request-id", sent),)
        call = bare.channel.unary_unary("/test.Service/Get")(b"", metadata=metadata)
        await call
        assert re.fullmatch("[0-9a-f]{24}", dict(tuple(await call.trailing_metadata()))["x-request-id"])


async def test_an_error_carries_the_request_id_in_its_trailer_and_its_details(serve: Any) -> None:
    async def handler(request: bytes, context: Any) -> bytes:
        raise DomainError(Reason.ETAG_MISMATCH, "changed", metadata={"name": "x", "etag": "1"})

    async with serve({"Get": unary(handler)}) as bare:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await bare.unary("Get", metadata=(("x-request-id", "r-7"),))
    error = caught.value
    assert (error.code(), error.details()) == (grpc.StatusCode.ABORTED, "changed")
    assert dict(tuple(error.trailing_metadata()))["x-request-id"] == "r-7"
    assert dict(info(error).metadata) == {"name": "x", "etag": "1", "request_id": "r-7"}


async def test_an_error_that_advises_to_wait_tells_grpc_retries_too(serve: Any) -> None:
    async def handler(request: bytes, context: Any) -> bytes:
        raise DomainError(Reason.STORE_UNAVAILABLE, "away", retry_after=0.25)

    async with serve({"Get": unary(handler)}) as bare:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await bare.unary("Get")
    assert dict(tuple(caught.value.trailing_metadata()))["grpc-retry-pushback-ms"] == "250"


async def test_an_unknown_exception_tells_the_caller_nothing_and_the_log_everything(serve: Any) -> None:
    async def handler(request: bytes, context: Any) -> bytes:
        password = "hunter2"
        raise ZeroDivisionError(f"inside {password}")

    with capture_logs() as lines:
        async with serve({"Get": unary(handler)}) as bare:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await bare.unary("Get", metadata=(("x-request-id", "r-9"),))
    error = caught.value
    assert error.code() is grpc.StatusCode.INTERNAL
    assert info(error).reason == "INTERNAL"
    told = f"{error.details()} {error.trailing_metadata()}"
    assert "r-9" in told
    assert not [secret for secret in SECRETS if secret in told]
    logged = next(line for line in lines if line["event"] == "unexpected error")
    assert logged["request_id"] == "r-9"
    assert isinstance(logged["exc_info"], ZeroDivisionError)


async def test_a_request_that_cannot_be_parsed_is_an_invalid_argument(channel: Any) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await channel.unary_unary("/streamgauge.v1.SourceService/GetSource")(b"\xff\xff\xff")
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert info(caught.value).reason == "INVALID_FIELD"


async def test_a_response_over_its_bound_is_an_error_with_limit_and_actual(serve: Any) -> None:
    async with serve({"Get": unary(echo)}, max_response_bytes=1_000) as bare:
        assert await bare.unary("Get", b"x" * 1_000) == b"x" * 1_000
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await bare.unary("Get", b"x" * 1_001)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    metadata = info(caught.value).metadata
    assert info(caught.value).reason == "MESSAGE_TOO_LARGE"
    assert (metadata["limit"], metadata["actual"]) == ("1000", "1001")


async def test_all_four_kinds_of_calls_work_and_map_their_errors(serve: Any) -> None:
    async def count(requests: AsyncIterator[bytes], context: Any) -> bytes:
        total = 0
        async for request in requests:
            if request == b"bad":
                raise DomainError(Reason.WRITE_CONFLICT, "no")
            total += 1
        return str(total).encode()

    async def spell(request: bytes, context: Any) -> AsyncIterator[bytes]:
        for letter in request.decode():
            if letter == "!":
                raise DomainError(Reason.WRITE_CONFLICT, "no")
            yield letter.encode()

    async def both(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for request in requests:
            if request == b"bad":
                raise DomainError(Reason.WRITE_CONFLICT, "no")
            yield request

    async def writer(request: bytes, context: Any) -> None:
        await context.write(b"w")
        if request == b"bad":
            raise DomainError(Reason.WRITE_CONFLICT, "no")

    async def messages(*items: bytes) -> AsyncIterator[bytes]:
        for item in items:
            yield item

    handlers = {
        "Echo": unary(echo),
        "Count": grpc.stream_unary_rpc_method_handler(count),
        "Spell": grpc.unary_stream_rpc_method_handler(spell),
        "Both": grpc.stream_stream_rpc_method_handler(both),
        "Writer": grpc.unary_stream_rpc_method_handler(writer),
    }
    async with serve(handlers) as bare:
        channel = bare.channel
        counter, both_ways = channel.stream_unary("/test.Service/Count"), channel.stream_stream("/test.Service/Both")
        speller, writing = channel.unary_stream("/test.Service/Spell"), channel.unary_stream("/test.Service/Writer")
        assert await bare.unary("Echo", b"x") == b"x"
        assert await counter(messages(b"a", b"b")) == b"2"
        assert [letter async for letter in speller(b"abc")] == [b"a", b"b", b"c"]
        assert [letter async for letter in both_ways(messages(b"1", b"2"))] == [b"1", b"2"]
        assert [letter async for letter in writing(b"good")] == [b"w"]

        failing: list[tuple[Any, bytes]] = [
            (speller(b"a!b"), b"a"),
            (both_ways(messages(b"1", b"bad", b"2")), b"1"),
            (writing(b"bad"), b"w"),
        ]
        for call, before in failing:
            assert await call.read() == before
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call.read()
            assert info(caught.value).reason == "WRITE_CONFLICT"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await counter(messages(b"a", b"bad"))
        assert info(caught.value).reason == "WRITE_CONFLICT"


async def test_a_call_over_the_servers_limit_ends_with_the_limit_in_its_details(serve: Any) -> None:
    gate = Gate()
    async with serve({"Wait": unary(gate.handle)}, max_call_seconds=0.05) as bare:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await bare.unary("Wait")
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert info(caught.value).reason == "DEADLINE_EXCEEDED"
    assert info(caught.value).metadata["limit_seconds"] == "0.05"
    assert gate.cancelled


async def test_calls_expire_one_after_the_other_and_finished_ones_not_at_all(serve: Any) -> None:
    gates = {name: Gate() for name in ("First", "Second", "Done")}
    async with serve({name: unary(gate.handle) for name, gate in gates.items()}, max_call_seconds=0.2) as bare:
        calls = {}
        for name, gate in gates.items():
            calls[name] = asyncio.ensure_future(bare.unary(name))
            await gate.entered.wait()
        gates["Done"].open.set()
        assert await calls["Done"] == b"done"
        for name in ("First", "Second"):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await calls[name]
            assert info(caught.value).reason == "DEADLINE_EXCEEDED"
        # The timer of the calls before has fired: a later one is bounded all the same.
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await bare.unary("First")
        assert info(caught.value).reason == "DEADLINE_EXCEEDED"


async def test_a_method_that_may_wait_has_its_own_limit(serve: Any) -> None:
    gates = {name: Gate() for name in ("Wait", "Plain")}
    handlers = {name: unary(gate.handle) for name, gate in gates.items()}
    async with serve(handlers, max_call_seconds=0.05, waits={"Wait": 0.25}) as bare:
        waiting = asyncio.ensure_future(bare.unary("Wait"))
        await gates["Wait"].entered.wait()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await bare.unary("Plain")
        assert info(caught.value).metadata["limit_seconds"] == "0.05"
        assert not waiting.done()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await waiting
        assert info(caught.value).metadata["limit_seconds"] == "0.3"


async def test_every_method_that_may_wait_is_served(app: App) -> None:
    assert app.interceptor is not None
    assert METHOD_WAITS.keys() <= set(app.interceptor.methods)


async def test_the_servers_limit_holds_although_the_caller_allows_more(serve: Any) -> None:
    gate = Gate()
    async with serve({"Wait": unary(gate.handle)}, max_call_seconds=0.05) as bare:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await bare.unary("Wait", timeout=60)
    assert info(caught.value).reason == "DEADLINE_EXCEEDED"


async def test_at_the_callers_deadline_the_work_stops_and_is_counted_as_late(serve: Any, eventually: Any) -> None:
    gate = Gate()
    async with serve({"Wait": unary(gate.handle)}) as bare:

        async def is_counted() -> bool:
            # On a busy machine a call may come in so late that its end looks like a cancellation: then another one.
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await bare.unary("Wait", timeout=0.2)
            assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            return 'grpc_code="DEADLINE_EXCEEDED"' in metrics_of(bare)

        await eventually(is_counted)
        await eventually(lambda: gate.cancelled)


async def test_a_cancellation_passes_through_all_steps(serve: Any, eventually: Any) -> None:
    gate = Gate()
    async with serve({"Wait": unary(gate.handle)}) as bare:
        call = bare.channel.unary_unary("/test.Service/Wait")(b"")
        await gate.entered.wait()
        call.cancel()
        await eventually(lambda: gate.cancelled)
        await eventually(lambda: 'grpc_code="CANCELLED"' in metrics_of(bare))


async def test_a_client_that_goes_away_in_mid_stream_ends_the_servers_generator(serve: Any, eventually: Any) -> None:
    ended = asyncio.Event()

    async def endless(request: bytes, context: Any) -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x" * 10_000
        finally:
            ended.set()

    async with serve({"Watch": grpc.unary_stream_rpc_method_handler(endless)}) as bare:
        call = bare.channel.unary_stream("/test.Service/Watch")(b"")
        assert await call.read()
        call.cancel()
        await asyncio.wait_for(ended.wait(), 10)
        await eventually(lambda: 'grpc_code="CANCELLED"' in metrics_of(bare))


async def test_draining_ends_streams_with_a_reason_and_leaves_unary_calls_alone(serve: Any) -> None:
    gate, stream_gate = Gate(), Gate()

    async def watch(request: bytes, context: Any) -> AsyncIterator[bytes]:
        yield b"first"
        await stream_gate.handle(request, context)

    handlers = {"Wait": unary(gate.handle), "Watch": grpc.unary_stream_rpc_method_handler(watch)}
    async with serve(handlers) as bare:
        stream = bare.channel.unary_stream("/test.Service/Watch")
        unary_call = asyncio.ensure_future(bare.unary("Wait"))
        open_stream = stream(b"")
        assert await open_stream.read() == b"first"
        await stream_gate.entered.wait()
        await gate.entered.wait()
        bare.deadlines.drain()
        for call in (open_stream, stream(b"")):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call.read()
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            assert info(caught.value).reason == "SHUTTING_DOWN"
            assert dict(tuple(caught.value.trailing_metadata()))["grpc-retry-pushback-ms"]
        assert stream_gate.cancelled
        gate.open.set()
        assert await unary_call == b"done"


async def test_the_handler_knows_its_caller_and_an_open_method_has_none(serve: Any) -> None:
    async def tenant(request: bytes, context: Any) -> bytes:
        return current_caller().tenant.encode()

    async with serve({"Mine": unary(tenant), "Open": unary(tenant)}, scopes={"Open": OPEN}) as bare:
        assert await bare.unary("Mine") == b"default"
        with capture_logs(), pytest.raises(grpc.aio.AioRpcError) as caught:
            await bare.unary("Open")
    assert caught.value.code() is grpc.StatusCode.INTERNAL


async def test_the_access_log_has_a_line_per_call_without_the_token(serve: Any) -> None:
    async def handler(request: bytes, context: Any) -> bytes:
        if request == b"bad":
            raise DomainError(Reason.SOURCE_NOT_FOUND, "none", metadata={"name": "x"})
        return b"four"

    with capture_logs() as lines:
        async with serve({"Get": unary(handler), "Probe": unary(echo)}, scopes={"Probe": OPEN}) as bare:
            await bare.unary("Get", b"abc", metadata=(("x-request-id", "r-1"),))
            with pytest.raises(grpc.aio.AioRpcError):
                await bare.unary("Get", b"bad")
            with pytest.raises(grpc.aio.AioRpcError):
                await bare.unary("Get", metadata=(("authorization", "Bearer sg_abc_hunter2"),))
    calls = [line for line in lines if line["event"] == "call"]
    assert [line["code"] for line in calls] == ["OK", "NOT_FOUND", "UNAUTHENTICATED"]
    first = calls[0]
    assert (first["method"], first["request_id"], first["tenant"]) == ("/test.Service/Get", "r-1", "default")
    assert (first["request_bytes"], first["response_bytes"]) == (3, 4)
    assert first["peer"].startswith("ipv4:127.0.0.1:")
    assert first["ms"] >= 0
    assert calls[1]["reason"] == "SOURCE_NOT_FOUND"
    assert "hunter2" not in str(lines)


async def test_probes_that_are_answered_are_quiet(start: Start, eventually: Any) -> None:
    stubs = await start(log={"access": "all"})
    channel: Any = stubs.channel
    health = "/grpc.health.v1.Health/Check"
    with capture_logs() as lines:
        await channel.unary_unary(health)(b"")
        with pytest.raises(grpc.aio.AioRpcError):
            await channel.unary_unary(health)(b"\n\x04none")
        await eventually(lambda: len([line for line in lines if line["event"] == "call"]) == 2)
    calls = [(line["code"], line["log_level"]) for line in lines if line["event"] == "call"]
    assert calls == [("OK", "debug"), ("NOT_FOUND", "info")]


async def test_by_default_a_call_that_ends_well_and_soon_has_no_line(
    start: Start, monkeypatch: pytest.MonkeyPatch, eventually: Any
) -> None:
    stubs = await start()
    with capture_logs() as lines:
        await stubs.server.GetServerInfo(server_service_pb2.GetServerInfoRequest())
        assert [line for line in lines if line["event"] == "call"] == []
        monkeypatch.setattr(observation, "SLOW_SECONDS", 0.0)
        await stubs.server.GetServerInfo(server_service_pb2.GetServerInfoRequest())
        with refused(grpc.StatusCode.NOT_FOUND, "SOURCE_NOT_FOUND"):
            await stubs.sources.GetSource(source_service_pb2.GetSourceRequest(name="sources/x"))
        await eventually(lambda: len([line for line in lines if line["event"] == "call"]) == 2)
    assert [line["code"] for line in lines if line["event"] == "call"] == ["OK", "NOT_FOUND"]


async def test_without_an_access_log_no_call_has_a_line(start: Start) -> None:
    stubs = await start(log={"access": "off"})
    with capture_logs() as lines, refused(grpc.StatusCode.NOT_FOUND, "SOURCE_NOT_FOUND"):
        await stubs.sources.GetSource(source_service_pb2.GetSourceRequest(name="sources/x"))
    assert [line for line in lines if line["event"] == "call"] == []


@pytest.mark.parametrize(
    ("error", "level"),
    [
        (ZeroDivisionError(), "error"),
        (DomainError(Reason.STORE_UNAVAILABLE, "away"), "warning"),
        (DomainError(Reason.SOURCE_NOT_FOUND, "none"), "info"),
    ],
)
async def test_the_more_the_server_is_to_blame_the_louder_the_line(serve: Any, error: Exception, level: str) -> None:
    async def handler(request: bytes, context: Any) -> bytes:
        raise error

    with capture_logs() as lines:
        async with serve({"Get": unary(handler)}) as bare:
            with pytest.raises(grpc.aio.AioRpcError):
                await bare.unary("Get")
    assert [line["log_level"] for line in lines if line["event"] == "call"] == [level]


async def test_metrics_count_calls_by_method_and_code_from_zero_on(serve: Any) -> None:
    async def handler(request: bytes, context: Any) -> bytes:
        if request:
            raise DomainError(Reason.SOURCE_NOT_FOUND, "none", metadata={"name": "x"})
        return b""

    gate = Gate()
    async with serve({"Get": unary(handler), "Wait": unary(gate.handle)}) as bare:
        labels = 'grpc_method="Get",grpc_service="test.Service",grpc_type="unary"'
        assert f"grpc_server_started_total{{{labels}}} 0.0" in metrics_of(bare)
        for request in (b"", b"", b"x"):
            try:
                await bare.unary("Get", request)
            except grpc.aio.AioRpcError:
                assert request
        waiting = asyncio.ensure_future(bare.unary("Wait"))
        await gate.entered.wait()
        text = metrics_of(bare)
        gate.open.set()
        await waiting
    assert f"grpc_server_started_total{{{labels}}} 3.0" in text
    assert f'grpc_server_handled_total{{grpc_code="OK",{labels}}} 2.0' in text
    assert f'grpc_server_handled_total{{grpc_code="NOT_FOUND",{labels}}} 1.0' in text
    assert f"grpc_server_handling_seconds_count{{{labels}}} 3.0" in text
    assert f'grpc_server_handling_seconds_bucket{{{labels},le="+Inf"}} 3.0' in text
    in_flight = 'grpc_server_in_flight{grpc_method="Wait",grpc_service="test.Service",grpc_type="unary"} 1.0'
    assert in_flight in text


async def test_methods_that_are_not_served_do_not_make_metrics(serve: Any) -> None:
    async with serve({"Get": unary(echo)}) as bare:
        for number in range(5):
            with pytest.raises(grpc.aio.AioRpcError):
                await bare.unary(f"Other{number}")
        assert "Other" not in metrics_of(bare)


def metrics_of(bare: Any) -> str:
    registry = CollectorRegistry()
    registry.register(bare.measured)
    lines = []
    for line in generate_latest(registry).decode().splitlines():
        # Labels in one order, whatever order the library writes them in.
        if match := re.fullmatch(r"(\w+)\{(.*)\} (\S+)", line):
            line = f"{match[1]}{{{','.join(sorted(match[2].split(',')))}}} {match[3]}"
        lines.append(line)
    return "\n".join(lines)

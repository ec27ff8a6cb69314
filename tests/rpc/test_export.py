"""`ExportMetrics`: frames out, as a stream; that they make the same store again, and where a broken stream goes on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from streamgauge.v1 import common_pb2
from streamgauge.v1 import metrics_service_pb2 as pb
from streamgauge_server.model.assets import asset_id

from tests.rpc.messages import DAY, HOUR, NOW, SECOND, batch, column, frame, stamp
from tests.rpc.serving import Stubs

URN = "urn:li:dataset:(urn:li:dataPlatform:postgres,shop.public.orders,PROD)"
ASSET = f"assets/{asset_id(URN)}"

Sample = tuple[str, str, str, int, str, Any, int | None]
"""Subject, part, metric, moment, type, value (doubles in hexadecimal), start time."""


def asked(*subjects: str, kind: str = "", start: int | None = None, end: int | None = None, **fields: Any) -> Any:
    request = pb.ExportMetricsRequest(subjects=subjects, **fields)
    if kind:
        request.subject_kind = common_pb2.SubjectKind.Value(f"SUBJECT_KIND_{kind}")
    if start is not None:
        request.time_range.start_time.CopyFrom(stamp(start))
    if end is not None:
        request.time_range.end_time.CopyFrom(stamp(end))
    return request


async def export(stubs: Stubs, request: pb.ExportMetricsRequest) -> list[pb.ExportMetricsResponse]:
    return [message async for message in stubs.metrics.ExportMetrics(request)]


async def frames_of(stubs: Stubs, request: pb.ExportMetricsRequest) -> list[common_pb2.Frame]:
    return [frame for message in await export(stubs, request) for frame in message.frames]


def samples_in(frames: Iterable[common_pb2.Frame]) -> list[Sample]:
    found: list[Sample] = []
    for one in frames:
        start = None
        if one.HasField("start_time"):
            start = one.start_time.seconds * SECOND + one.start_time.nanos // 1000
        for held in one.columns:
            member = held.WhichOneof("values")
            assert member is not None
            values = list(getattr(held, member).values)
            rows = list(held.rows) or range(len(one.time_unix_micros))
            for place, item in zip(rows, values, strict=True):
                told = item.hex() if isinstance(item, float) else item
                found.append((one.subject, one.part, held.metric, one.time_unix_micros[place], member, told, start))
    return sorted(found, key=repr)


async def load(stubs: Stubs, frames: Iterable[common_pb2.Frame]) -> None:
    answer = await stubs.metrics.ImportMetrics(iter([batch(one) for one in frames]))
    assert answer.rejected_frame_count == 0, answer.errors


async def test_everything_comes_out_as_it_went_in(stubs: Stubs) -> None:
    sent = [
        frame([NOW, NOW + SECOND], column("bytes", [5, 2**63 - 1]), column("load", [0.5, -0.0]), start=NOW - HOUR),
        frame([NOW - DAY], column("up", [True]), column("state", ["ü"]), part="0"),
        frame([NOW], column("records", [1]), subject="sources/b"),
    ]
    await load(stubs, sent)
    found = await frames_of(stubs, asked("sources/b", "sources/a"))
    assert samples_in(found) == samples_in(sent)
    assert [(one.subject, one.part) for one in found] == [("sources/a", ""), ("sources/a", "0"), ("sources/b", "")]

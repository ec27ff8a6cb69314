"""The query of `/sources/{source_id}/metrics`: what it asks, and what FastAPI would say is wrong with it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any

from google.protobuf.timestamp_pb2 import Timestamp
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import PydanticKnownError
from starlette.datastructures import QueryParams
from streamgauge.v1 import common_pb2
from streamgauge.v1 import source_service_pb2 as pb

MAX_INTERVAL = 10_000

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND, _MICROSECOND = timedelta(seconds=1), timedelta(microseconds=1)


class TimeType(StrEnum):
    """Which of the three answers."""

    TIMESERIES = "timeseries"
    TIMESUMMARY = "timesummary"
    LATEST = "latest"


class TimeUnit(StrEnum):
    """The unit of the windows of a time series."""

    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"


TIME_TYPES = {
    TimeType.TIMESERIES: pb.TIME_TYPE_TIMESERIES,
    TimeType.TIMESUMMARY: pb.TIME_TYPE_TIMESUMMARY,
    TimeType.LATEST: pb.TIME_TYPE_LATEST,
}
WINDOW_UNITS = {
    TimeUnit.MINUTE: common_pb2.WINDOW_UNIT_MINUTE,
    TimeUnit.HOUR: common_pb2.WINDOW_UNIT_HOUR,
    TimeUnit.DAY: common_pb2.WINDOW_UNIT_DAY,
    TimeUnit.WEEK: common_pb2.WINDOW_UNIT_WEEK,
    TimeUnit.MONTH: common_pb2.WINDOW_UNIT_MONTH,
}


class Unprocessable(Exception):
    """The query breaks its schema: 422. `errors` is FastAPI's list of what is wrong."""

    def __init__(self, errors: Sequence[dict[str, Any]]) -> None:
        super().__init__(f"{len(errors)} parameters are wrong")
        self.errors = list(errors)


def _no_number(given: Any) -> Any:
    """Refuses numbers, in which pydantic would see seconds or milliseconds since 1970."""
    try:
        float(given)
    except ValueError:
        return given
    raise PydanticKnownError("datetime_parsing", {"error": "a number is not an ISO 8601 timestamp"})


_Moment = Annotated[datetime, BeforeValidator(_no_number)]


class SourceMetricsParameters(BaseModel):
    """The parameters of a query with their defaults. Those that it does not know are ignored, as FastAPI does."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    time_type: TimeType = TimeType.TIMESERIES
    time_interval: Annotated[int, Field(gt=0, le=MAX_INTERVAL)] = 1
    time_unit: TimeUnit = TimeUnit.HOUR
    timestamp_from: _Moment | None = None
    timestamp_to: _Moment | None = None
    metrics: tuple[str, ...] = ()
    strict: bool = False

    def request(self, source_id: str) -> pb.GetSourceMetricsRequest:
        """Returns the call that answers the query."""
        request = pb.GetSourceMetricsRequest(
            source=f"sources/{source_id}",
            time_type=TIME_TYPES[self.time_type],
            time_interval=self.time_interval,
            time_unit=WINDOW_UNITS[self.time_unit],
            metrics=self.metrics,
        )
        if self.timestamp_from is not None:
            request.timestamp_from.CopyFrom(_timestamp(self.timestamp_from))
        if self.timestamp_to is not None:
            request.timestamp_to.CopyFrom(_timestamp(self.timestamp_to))
        return request


def parse(query: QueryParams) -> SourceMetricsParameters:
    """Returns the parameters of a query; of a parameter that repeats the last one stands, `metrics` are gathered.

    Raises:
        Unprocessable: parameters are not what they must be.
    """
    given: dict[str, Any] = dict(query)
    if "metrics" in given:
        given["metrics"] = query.getlist("metrics")
    try:
        return SourceMetricsParameters.model_validate(given)
    except ValidationError as error:
        told = error.errors(include_url=False)
        raise Unprocessable([entry | {"loc": ["query", *entry["loc"]]} for entry in told]) from error


def _timestamp(moment: datetime) -> Timestamp:
    """Returns a moment; one without an offset is UTC. Beyond the year 9999 it is for the server to refuse."""
    aware = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    seconds, rest = divmod(aware - _EPOCH, _SECOND)
    return Timestamp(seconds=seconds, nanos=rest // _MICROSECOND * 1000)

"""The query of `GET .../asset/{asset_urn}/metric`: an inclusive range, and a page of it where one is asked for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlencode

from google.protobuf.timestamp_pb2 import Timestamp
from starlette.datastructures import QueryParams
from streamgauge.v1 import asset_metric_service_pb2 as pb

from streamgauge_server.gateway.legacy.assets_problems import Fault, Faults, Problem
from streamgauge_server.gateway.legacy.assets_times import (
    LAST_MILLI,
    MOMENT_FORM,
    millis,
    moment_text,
    of_millis,
    parse_query_moment,
)

MAX_PAGE_SIZE = 1_000

_PAGE_SIZE = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class Question:
    """A range, both ends in it; None for the beginning of 1970 and for now. `paged` asks for one page of it."""

    start: Timestamp | None
    end: Timestamp | None
    paged: bool
    page_size: int
    page_token: str

    def request(self, urn: str, end: Timestamp) -> pb.ListAssetMetricsRequest:
        """Returns the call for the range up to `end`, whose range is half-open.

        The last moment of all has none after it: there the range stays open.
        """
        request = pb.ListAssetMetricsRequest(asset=urn, page_size=self.page_size, page_token=self.page_token)
        if self.start is not None:
            request.time_range.start_time.CopyFrom(self.start)
        if millis(end) != LAST_MILLI:
            request.time_range.end_time.CopyFrom(of_millis(millis(end) + 1))
        return request

    def next_page(self, end: Timestamp, token: str) -> str:
        """Returns the query of the page after this one. A token holds for the range that it was given for."""
        start = {} if self.start is None else {"from": moment_text(self.start)}
        page = {"to": moment_text(end), "page_size": str(self.page_size), "page_token": token}
        return "?" + urlencode(start | page)


def parse(query: QueryParams) -> Question:
    """Returns what a query asks; parameters that it does not know are ignored, of one that repeats the last stands.

    Raises:
        Problem: 400, parameters are not what they must be.
    """
    faults = Faults()
    start, end = _moment(query, "from", faults), _moment(query, "to", faults)
    size, token = query.get("page_size"), query.get("page_token", "")
    page_size = int(size) if size is not None and _PAGE_SIZE.fullmatch(size) else 0
    if size is not None and not 1 <= page_size <= MAX_PAGE_SIZE:
        faults.add(Fault(f"must be 1 to {MAX_PAGE_SIZE}", parameter="page_size"))
    if faults:
        raise Problem(400, faults.told)
    paged = size is not None or bool(token)
    return Question(start, end, paged, page_size or (100 if paged else MAX_PAGE_SIZE), token)


def parse_return(query: QueryParams) -> bool:
    """Tells whether an emit is to answer all metrics of its moment: `return=merged` rather than `return=submitted`.

    Raises:
        Problem: 400, it is neither.
    """
    asked = query.get("return", "submitted")
    if asked not in ("merged", "submitted"):
        raise Problem(400, [Fault("must be submitted or merged", parameter="return")])
    return asked == "merged"


def _moment(query: QueryParams, parameter: str, faults: Faults) -> Timestamp | None:
    given = query.get(parameter)
    if given is None:
        return None
    moment = parse_query_moment(given)
    if moment is None:
        faults.add(Fault(MOMENT_FORM, parameter=parameter))
    return moment

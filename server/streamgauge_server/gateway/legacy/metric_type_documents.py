"""The metric types API in the OpenAPI document: operations and schemas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from streamgauge_server.gateway.legacy.metric_type_rendering import CHOICE_FIELDS
from streamgauge_server.gateway.legacy.metric_type_times import Bin
from streamgauge_server.gateway.legacy.rest_framework import (
    DEFAULT_PAGE_SIZE,
    INVALID_PAGE,
    MAX_PAGE_SIZE,
    NOT_ACCEPTABLE,
    NOT_FOUND,
    SERVER_ERROR,
)

Json = Mapping[str, Any]

_TEXT = {"type": "string"}
_TEXT_OR_NULL = {"type": ["string", "null"]}
_INT64 = {"type": "integer", "format": "int64"}
_NUMBER_OR_NULL = {
    "type": ["number", "null"],
    "description": "An integer, cut off toward zero; ratios and custom columns of doubles may have a fraction.",
}
_MOMENT = {"type": "string", "format": "date-time"}
_MOMENT_OR_NULL = {"type": ["string", "null"], "format": "date-time"}
_LINK = {"type": ["string", "null"], "format": "uri", "description": "Absolute, with all parameters kept."}


def _object(properties: Json, description: str = "", *, more: bool = False) -> Json:
    """Returns the schema of an object that has all of these properties, and perhaps `more`."""
    return {
        **({"description": description} if description else {}),
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": more,
    }


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/LegacyMetricType{name}"}


def _array(items: Json) -> Json:
    return {"type": "array", "items": items}


def _page(results: Json) -> Json:
    count = {**_INT64, "minimum": 0, "description": "How many there are on all pages."}
    return _object({"count": count, "next": _LINK, "previous": _LINK, "results": _array(results)})


_METRIC_TYPE = {
    "name": {**_TEXT, "description": "`job-types`, `ingests`, `errors`, or that of a custom metric type."},
    "title": _TEXT,
    "description": _TEXT_OR_NULL,
    "filters": _array(_ref("Filter")),
    "groups": _array(_ref("Group")),
    "columns": _array(_ref("Column")),
}
_FILTER_TYPES = ["bool", "date", "datetime", "float", "int", "string", "time"]
_AGGREGATES = ["sum", "min", "max", "avg", "p50", "p95", "ratio"]

SCHEMAS: Json = {
    "LegacyMetricTypeFilter": _object(
        {"param": _TEXT, "type": {**_TEXT, "enum": _FILTER_TYPES}},
        "A field of the choices by which a client may offer to narrow them. No parameter of this API.",
    ),
    "LegacyMetricTypeGroup": _object({"name": _TEXT, "title": _TEXT, "description": _TEXT_OR_NULL}),
    "LegacyMetricTypeColumn": _object(
        {
            "name": _TEXT,
            "title": _TEXT,
            "description": _TEXT_OR_NULL,
            "units": {**_TEXT_OR_NULL, "description": "For example count, seconds, bytes."},
            "group": _TEXT_OR_NULL,
            "aggregate": {**_TEXT, "enum": _AGGREGATES, "description": "How values of choices and bins become one."},
        }
    ),
    "LegacyMetricTypeChoice": _object(
        {"id": {**_INT64, "description": "What `choice_id` names."}, "name": {}, "title": {}},
        "What figures are kept for. "
        + " ".join(f"Of {name}: {', '.join(fields)}." for name, fields in CHOICE_FIELDS.items())
        + " Of custom metric types the fields that it was created with.",
        more=True,
    ),
    "LegacyMetricTypeListed": _object(_METRIC_TYPE),
    "LegacyMetricTypeDetails": _object({**_METRIC_TYPE, "choices": _array(_ref("Choice"))}),
    "LegacyMetricTypePage": _page(_ref("Listed")),
    "LegacyMetricTypeValue": {
        **_object(
            {"datetime": {**_MOMENT, "description": "The beginning of the bin, UTC."}, "value": _NUMBER_OR_NULL},
            "`id` is the choice; it is there if, and only if, choices are named.",
        ),
        "properties": {"datetime": _MOMENT, "value": _NUMBER_OR_NULL, "id": _INT64},
    },
    "LegacyMetricTypeSeries": _object(
        {
            "column": _ref("Column"),
            "min_x": _MOMENT_OR_NULL,
            "max_x": _MOMENT_OR_NULL,
            "min_y": _NUMBER_OR_NULL,
            "max_y": _NUMBER_OR_NULL,
            "values": {
                **_array(_ref("Value")),
                "description": "By time, then by choice. Bins without one are left out.",
            },
        },
        "The bounds are those of `values`; null without any.",
    ),
    "LegacyMetricTypePlot": _page(_ref("Series")),
    "LegacyMetricTypeFailure": _object({"detail": {**_TEXT, "description": "What is wrong, for people."}}),
}

_NAME = {
    "name": "name",
    "in": "path",
    "required": True,
    "description": "The name of the metric type.",
    "schema": {**_TEXT, "minLength": 1},
    "example": "job-types",
}
_FORMAT = {
    "name": "format",
    "in": "query",
    "description": "Anything but `json` is 404.",
    "schema": {**_TEXT, "enum": ["json"]},
}
_PAGING = (
    {
        "name": "page",
        "in": "query",
        "description": "Which page, from 1, or `last`. 404 when there is no such page.",
        "schema": {"anyOf": [{"type": "integer", "minimum": 1}, {"const": "last"}], "default": 1},
    },
    {
        "name": "page_size",
        "in": "query",
        "description": (
            f"How many results a page has. Above {MAX_PAGE_SIZE:,} is {MAX_PAGE_SIZE:,}; "
            f"what is no number above 0 is {DEFAULT_PAGE_SIZE}."
        ),
        "schema": {"anyOf": [{"type": "integer"}, _TEXT], "default": DEFAULT_PAGE_SIZE},
    },
)


def _moment(name: str, default: str, example: str) -> Json:
    duration = r"^P([0-9]{1,3}M)?([0-9]{1,3}W)?([0-9]{1,4}D)?(T([0-9]{1,4}H)?([0-9]{1,4}M)?([0-9]{1,6}S)?)?$"
    return {
        "name": name,
        "in": "query",
        "description": (
            f"The {'first' if name == 'started' else 'last'} moment at which a bin may begin, itself included: a "
            "date-time with its offset, or a duration back from now of months, weeks, days, hours, minutes and "
            f"seconds, such as P7D. The last one counts. Default: {default}."
        ),
        "schema": {"anyOf": [{**_TEXT, "format": "date-time"}, {**_TEXT, "pattern": duration}]},
        "example": example,
    }


def _repeated(name: str, description: str, items: Json, example: Sequence[Any]) -> Json:
    schema = {"type": "array", "items": items, "maxItems": 1_000}
    return {"name": name, "in": "query", "description": description, "schema": schema, "example": example}


_PLOT = (
    _repeated(
        "column",
        "Columns to plot. With `group` both; nothing named is every column of the catalogue. Derived columns of the "
        "server (`run_time_p95`, `failed_rate` and so on) are answered when they are named. 400 for an unknown one.",
        _TEXT,
        ["total_count"],
    ),
    _repeated(
        "group", "Groups of columns to plot. Unknown ones, empty ones and `null` are ignored.", _TEXT, ["overview"]
    ),
    _repeated(
        "choice_id",
        "Choices to plot, each by itself; without any they are taken together. Unknown ones have no values.",
        _INT64,
        [1],
    ),
    _moment("started", "the beginning", "2015-01-01T00:00:00Z"),
    _moment("ended", "now", "2015-01-31T00:00:00Z"),
    {
        "name": "bin",
        "in": "query",
        "description": "How long a bin is, UTC; weeks begin on Monday. Empty and `null` are `hour`. An addition.",
        "schema": {**_TEXT, "enum": [*(bin.value for bin in Bin), "null", ""], "default": Bin.HOUR.value},
    },
)

_RUN_COUNT = {
    "name": "total_count",
    "title": "Total Count",
    "description": "Jobs that ended, in whatever way.",
    "units": "count",
    "group": "overview",
    "aggregate": "sum",
}
_LISTED = {
    "name": "errors",
    "title": "Errors",
    "description": "Figures about failures of jobs, per error that ships with the server.",
    "filters": [{"param": "name", "type": "string"}, {"param": "category", "type": "string"}],
    "groups": [{"name": "overview", "title": "Overview", "description": "How often errors happened."}],
    "columns": [{**_RUN_COUNT, "description": "Executions that ended with the error."}],
}
_ERROR = {
    "id": 1,
    "name": "unknown",
    "title": "Unknown",
    "description": "The error could not be told.",
    "job_type_name": None,
    "category": "SYSTEM",
    "is_builtin": True,
    "should_be_retried": True,
}
_SERIES = {
    "column": _RUN_COUNT,
    "min_x": "2015-01-01T10:00:00Z",
    "max_x": "2015-01-01T11:00:00Z",
    "min_y": 4,
    "max_y": 7,
    "values": [
        {"datetime": "2015-01-01T10:00:00Z", "value": 7, "id": 1},
        {"datetime": "2015-01-01T11:00:00Z", "value": 4, "id": 1},
    ],
}


def _one_page(result: Json) -> Json:
    return {"count": 1, "next": None, "previous": None, "results": [result]}


_OPERATIONS: Mapping[str, Json] = {
    "list": {
        "summary": "Metric types",
        "description": "The kinds of figures that there are: the built-in ones, then custom ones by name.",
        "parameters": [*_PAGING, _FORMAT],
        "answer": ("Page", _one_page(_LISTED)),
        "missing": INVALID_PAGE,
    },
    "details": {
        "summary": "A metric type with its choices",
        "description": "One kind of figures, with all that figures are kept for.",
        "parameters": [_NAME, _FORMAT],
        "answer": ("Details", {**_LISTED, "choices": [_ERROR]}),
        "missing": NOT_FOUND,
    },
    "plot": {
        "summary": "Figures over time",
        "description": "The values of columns by bins of time: of each choice that is named, or of all together.",
        "parameters": [_NAME, *_PLOT, *_PAGING, _FORMAT],
        "answer": ("Plot", _one_page(_SERIES)),
        "missing": NOT_FOUND,
    },
}


def operation(name: str, version: str) -> Json:
    """Returns the operation `list`, `details` or `plot` of a version of the API."""
    told = _OPERATIONS[name]
    schema, example = told["answer"]
    return {
        "operationId": f"LegacyMetricTypes_{name}_{version}",
        "tags": ["Legacy metric types"],
        "summary": told["summary"],
        "description": told["description"],
        "parameters": told["parameters"],
        "responses": {
            "200": {
                "description": "The answer.",
                "content": {"application/json": {"schema": _ref(schema), "example": example}},
            },
            "400": _failure(
                "A parameter is wrong, or the path is not UTF-8.", "bin: 'year' is none of hour, day, week, month"
            ),
            "403": _failure("The token is missing, unknown or lacks `read:metric_types`.", "a token is required"),
            "404": _failure("There is no such metric type, page or format.", told["missing"]),
            "406": _failure("`Accept` leaves JSON out.", NOT_ACCEPTABLE),
            "429": _failure("Too much at once.", "too many requests"),
            "500": _failure("Something failed that should not.", SERVER_ERROR),
            "503": _failure("The server or its store cannot be reached.", "the store cannot be reached"),
            "504": _failure("The answer took too long.", "the call took longer than it may"),
        },
    }


def _failure(description: str, detail: str) -> Json:
    content = {"schema": _ref("Failure"), "example": {"detail": detail}}
    return {"description": description, "content": {"application/json": content}}

"""OpenAPI of `/sources/{source_id}/metrics`: its operation and the schemas that it refers to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from streamgauge_server.gateway.legacy.sources_parameters import MAX_INTERVAL, TimeType, TimeUnit

_SCALAR = {"type": ["number", "string", "null"]}
_CLOCK_TIME = {"type": "string", "pattern": r"^\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2}$"}


def _object(properties: Mapping[str, Any], *, optional: tuple[str, ...] = (), closed: bool = True) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": [name for name in properties if name not in optional],
        "additionalProperties": not closed,
    }


def _answer(values: Mapping[str, Any], description: str) -> dict[str, Any]:
    return _object(
        {
            "data": {"type": "object", "additionalProperties": values, "description": description},
            "metadata": {
                "type": "object",
                "additionalProperties": {"$ref": "#/components/schemas/LegacySourceMetricMetadata"},
                "description": "Name and unit of every metric in `data`.",
            },
        }
    )


SCHEMAS: Mapping[str, Any] = {
    "LegacySourceMetricMetadata": _object({"name": {"type": "string"}, "unit": {"type": "string"}}),
    "LegacySourceSnapshotStatus": _object(
        {
            "status": {"type": "string", "examples": ["completed"]},
            "topic_id": {"type": "string", "examples": ["source_67adcd1e4ddd8fe6b1f8d7a9.public.orders"]},
            "submit_timestamp": {"type": ["string", "null"], "pattern": _CLOCK_TIME["pattern"]},
        }
    ),
    "LegacySourcePoint": _object({"timestamp": _CLOCK_TIME, "value": _SCALAR}),
    "LegacySourceTimeseries": _answer(
        {"type": "array", "items": {"$ref": "#/components/schemas/LegacySourcePoint"}},
        "A point per window and metric; its value is null where the window has no sample. The list is empty where the "
        "range has none.",
    ),
    "LegacySourceTimesummary": _answer(_SCALAR, "One value per metric over the range, null where it has no sample."),
    "LegacySourceLatest": _answer(
        {
            "anyOf": [
                _SCALAR,
                {"type": "array", "items": {"$ref": "#/components/schemas/LegacySourceSnapshotStatus"}},
            ]
        },
        "The newest value per metric, booleans as 0 and 1, null where there is none; `snapshotStatus` is a list.",
    ),
    "LegacySourceError": _object({"detail": {"type": "string"}}),
    "LegacySourceValidationError": _object(
        {
            "detail": {
                "type": "array",
                "minItems": 1,
                "items": _object(
                    {
                        "type": {"type": "string", "examples": ["enum"]},
                        "loc": {
                            "type": "array",
                            "items": {"type": ["string", "integer"]},
                            "examples": [["query", "time_unit"]],
                        },
                        "msg": {"type": "string"},
                        "input": {"description": "What was sent."},
                        "ctx": {"type": "object"},
                    },
                    optional=("ctx",),
                ),
            }
        }
    ),
}


def _query(name: str, schema: Mapping[str, Any], description: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "schema": dict(schema), "description": description}


def _error(description: str, schema: str = "LegacySourceError") -> dict[str, Any]:
    return {
        "description": description,
        "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}},
    }


_MOMENT = {"type": "string", "format": "date-time", "examples": ["2025-03-02T07:10:15Z"]}

OPERATION: Mapping[str, Any] = {
    "operationId": "legacyGetSourceMetrics",
    "tags": ["Legacy: sources"],
    "summary": "Metrics of a source as time series, summary of a range or latest values",
    "description": "Every parameter may be sent with any `time_type`; parameters that are not listed are ignored.",
    "parameters": [
        {
            "name": "source_id",
            "in": "path",
            "required": True,
            "schema": {"type": "string", "minLength": 1, "examples": ["67adcd1e4ddd8fe6b1f8d7a9"]},
            "description": "The source's id.",
        },
        _query(
            "time_type",
            {"type": "string", "enum": [member.value for member in TimeType], "default": TimeType.TIMESERIES.value},
            "Which of the three answers.",
        ),
        _query(
            "time_interval",
            {"type": "integer", "minimum": 1, "maximum": MAX_INTERVAL, "default": 1},
            "How many units a window of the time series has.",
        ),
        _query(
            "time_unit",
            {"type": "string", "enum": [member.value for member in TimeUnit], "default": TimeUnit.HOUR.value},
            "The unit of the windows.",
        ),
        _query(
            "timestamp_from",
            _MOMENT,
            "The first moment of the range, by ISO 8601; UTC without an offset. Default: 24 hours ago, whatever "
            "`timestamp_to` is.",
        ),
        _query("timestamp_to", _MOMENT, "The first moment after the range. Default: now."),
        _query(
            "metrics",
            {"type": "array", "items": {"type": "string", "minLength": 1, "maxLength": 255}, "maxItems": 1000},
            "Only this metric; may repeat. `*` is every metric of the source. Not part of the original API.",
        ),
        _query(
            "strict",
            {"type": "boolean", "default": False},
            "Answer 404 where there is no value at all. Not part of the original API.",
        ),
    ],
    "responses": {
        "200": {
            "description": "The metrics.",
            "content": {
                "application/json": {
                    "schema": {
                        "anyOf": [
                            {"$ref": f"#/components/schemas/LegacySource{answer}"}
                            for answer in ("Timeseries", "Timesummary", "Latest")
                        ]
                    },
                    "examples": {
                        "timeseries": {
                            "value": {
                                "data": {"byteTotal": [{"timestamp": "2025-03-02 07:00:00", "value": 10000}]},
                                "metadata": {"byteTotal": {"name": "Volume", "unit": "bytes"}},
                            }
                        },
                        "latest": {
                            "value": {
                                "data": {"StreamingConnected": 1, "recordRetryTotal": None},
                                "metadata": {
                                    "StreamingConnected": {"name": "Streaming Connected?", "unit": "boolean"},
                                    "recordRetryTotal": {"name": "Retried", "unit": "count"},
                                },
                            }
                        },
                    },
                }
            },
        },
        "400": _error("The range is empty or reversed, or has too many windows or values; or the path is not UTF-8."),
        "401": _error("There is no token, or it is not valid."),
        "403": _error("The token lacks the scope `read:source_metrics`."),
        "404": _error("There is no such source, or with `strict` no value."),
        "408": _error("The request did not come in time."),
        "422": _error("A parameter is wrong.", "LegacySourceValidationError"),
        "429": _error("Too many calls."),
        "431": {"description": "The head of the request is too large."},
        "499": _error("The call was cancelled."),
        "500": _error("A fault of the server."),
        "503": _error("The server or its store cannot be reached; try again after `Retry-After` seconds."),
        "504": _error("The answer did not come in time."),
    },
}

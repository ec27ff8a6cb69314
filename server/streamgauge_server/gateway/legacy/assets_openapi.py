"""OpenAPI of `/api/xdg/v1/asset/{asset_urn}/metric`: its operations and the schemas that they refer to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from streamgauge_server.gateway.legacy.assets_body import VALUE_TYPES
from streamgauge_server.gateway.legacy.assets_problems import MEDIA_TYPE
from streamgauge_server.gateway.legacy.assets_question import MAX_PAGE_SIZE

_TAGS = ["Legacy: assets"]
_VALUE = {"type": ["string", "number", "boolean"]}
_TYPE = {"type": "string", "enum": list(VALUE_TYPES)}
_MOMENT_OUT = {
    "type": "string",
    "pattern": r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$",
    "examples": ["2024-03-02T17:44:00.000Z"],
}
_MOMENT_IN_PATTERN = (
    r"^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])T([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,9})?"
    r"(Z|[+-]([01]\d|2[0-3]):?[0-5]\d)$"
)


def _moment_in(*types: str) -> dict[str, Any]:
    return {"type": list(types), "pattern": _MOMENT_IN_PATTERN, "examples": ["2024-03-02T17:44:00.000Z"]}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(properties: Mapping[str, Any], required: tuple[str, ...] | None = None, **more: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties if required is None else required),
        **more,
    }


_METRICS_OUT = {"type": "array", "items": _ref("LegacyAssetMetricValue")}

SCHEMAS: Mapping[str, Any] = {
    "LegacyAssetMetric": _object(
        {
            "name": {"type": "string", "minLength": 1, "maxLength": 255, "description": "Case matters."},
            "value": _VALUE | {"description": "Integers keep all 64 bits; those beyond are refused."},
            "valueType": {
                "type": ["string", "null"],
                "enum": [*VALUE_TYPES, None],
                "description": "Guessed when it is missing.",
            },
        },
        ("name", "value"),
        description="One metric on its way into an asset.",
    ),
    "LegacyAssetEmitMultiple": _object(
        {
            "timestamp": _moment_in("string", "null"),
            "metrics": {"type": "array", "minItems": 1, "items": _ref("LegacyAssetMetric")},
            "name": {"type": "null"},
            "value": {"type": "null"},
        },
        ("metrics",),
        description="Several metrics of one moment; without a timestamp it is the server's clock.",
    ),
    "LegacyAssetEmitSingle": _object(
        {
            "timestamp": _moment_in("string", "null"),
            "name": {"type": "string", "minLength": 1, "maxLength": 255},
            "value": _VALUE,
            "metrics": {"type": "null"},
        },
        ("name", "value"),
        description="Deprecated: one metric whose type is guessed.",
        deprecated=True,
    ),
    "LegacyAssetMetricValue": _object(
        {"name": {"type": "string"}, "value": _VALUE, "valueType": _TYPE}, additionalProperties=False
    ),
    "LegacyAssetEmittedMultiple": _object(
        {"metrics": _METRICS_OUT, "name": {"type": "null"}, "timestamp": _MOMENT_OUT, "value": {"type": "null"}},
        additionalProperties=False,
    ),
    "LegacyAssetEmittedSingle": _object(
        {"timestamp": _MOMENT_OUT, "name": {"type": "string"}, "value": _VALUE, "metrics": {"type": "null"}},
        additionalProperties=False,
    ),
    "LegacyAssetMoment": _object({"metrics": _METRICS_OUT, "timestamp": _MOMENT_OUT}, additionalProperties=False),
    "LegacyAssetProblem": _object(
        {
            "type": {"type": "string", "const": "about:blank"},
            "title": {"type": "string", "examples": ["Bad Request"]},
            "status": {"type": "integer", "examples": [400]},
            "detail": {"type": "string"},
            "code": {"type": "string", "examples": ["VALUE_TYPE_MISMATCH"]},
            "errors": {
                "type": "array",
                "items": _object(
                    {
                        "pointer": {
                            "type": "string",
                            "description": "JSON pointer into the body.",
                            "examples": ["/metrics/0/valueType"],
                        },
                        "parameter": {"type": "string", "description": "Parameter of the path or query."},
                        "code": {"type": "string"},
                        "message": {"type": "string"},
                    },
                    ("code", "message"),
                    additionalProperties=False,
                ),
            },
            "omitted": {"type": "integer", "description": "How many errors there are beside those in the list."},
        },
        ("type", "title", "status", "detail", "code", "errors"),
        additionalProperties=False,
        description="A problem document (RFC 9457).",
    ),
}


def _problem(description: str) -> dict[str, Any]:
    return {"description": description, "content": {MEDIA_TYPE: {"schema": _ref("LegacyAssetProblem")}}}


_PROBLEMS = {
    "401": _problem("There is no token, or it is not valid."),
    "404": _problem("There is no such asset."),
    "408": _problem("The request did not come in time."),
    "429": _problem("Too many calls, assets or metrics."),
    "431": {"description": "The head of the request is too large."},
    "499": _problem("The call was cancelled."),
    "500": _problem("A fault of the server."),
    "503": _problem("The server or its store cannot be reached; try again after `Retry-After` seconds."),
    "504": _problem("The answer did not come in time."),
}

_WARNING = {
    "description": 'What was accepted and is likely not what was meant, as `299 streamgauge "text"`.',
    "schema": {"type": "string"},
}

_URN = {
    "name": "asset_urn",
    "in": "path",
    "required": True,
    "schema": {
        "type": "string",
        "minLength": 1,
        "pattern": "^[Uu][Rr][Nn]:",
        "examples": ["urn:li:dataset:(urn:li:dataPlatform:postgres,shop.public.orders,PROD)"],
    },
    "description": "URN of the asset, percent-encoded once: `/` as `%2F`, `%` as `%25`.",
}


def _query(name: str, schema: Mapping[str, Any], description: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "schema": dict(schema), "description": description}


EMIT: Mapping[str, Any] = {
    "operationId": "legacyEmitAssetMetrics",
    "tags": _TAGS,
    "summary": "Emit metrics on an asset",
    "description": "Metrics of the same asset and moment are merged: new names are added, equal names replaced. All of "
    "them are stored or, if anything is wrong, none.",
    "parameters": [
        _URN,
        _query(
            "return",
            {"type": "string", "enum": ["submitted", "merged"], "default": "submitted"},
            "Answer with the metrics that were submitted, or with all that the asset has at this moment (multiple "
            "format; needs the scope `read:asset_metrics`). Not part of the original API.",
        ),
    ],
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"anyOf": [_ref("LegacyAssetEmitMultiple"), _ref("LegacyAssetEmitSingle")]},
                "examples": {
                    "multiple": {
                        "value": {
                            "timestamp": "2024-03-02T17:44:00.000Z",
                            "metrics": [
                                {"name": "qualityScore", "value": 18, "valueType": "NUMBER"},
                                {"name": "lastUpdated", "value": "2024-03-02T17:44:00.000Z"},
                            ],
                        }
                    },
                    "single": {
                        "value": {"timestamp": "2024-03-02T17:44:00.000Z", "name": "qualityScore", "value": "50"}
                    },
                },
            }
        },
    },
    "responses": {
        "200": {
            "description": "The metrics are stored.",
            "headers": {
                "Warning": _WARNING,
                "Deprecation": {
                    "description": "With the single format: since when it is deprecated (RFC 9745).",
                    "schema": {"type": "string"},
                },
            },
            "content": {
                "application/json": {
                    "schema": {"anyOf": [_ref("LegacyAssetEmittedMultiple"), _ref("LegacyAssetEmittedSingle")]},
                    "examples": {
                        "multiple": {
                            "value": {
                                "metrics": [{"name": "qualityScore", "value": 18, "valueType": "NUMBER"}],
                                "name": None,
                                "timestamp": "2024-03-02T17:44:00.000Z",
                                "value": None,
                            }
                        },
                        "single": {
                            "value": {
                                "timestamp": "2024-03-02T17:44:00.000Z",
                                "name": "qualityScore",
                                "value": "50",
                                "metrics": None,
                            }
                        },
                    },
                }
            },
        },
        "400": _problem("Something is wrong with the request; `errors` has all of it. Nothing is stored."),
        "403": _problem(
            "The token lacks the scope `write:asset_metrics`, or `read:asset_metrics` for `return=merged`."
        ),
        "409": _problem("The asset was deleted meanwhile; try again."),
        "413": _problem("The body, or the answer to it, is too large. Nothing is stored."),
        "415": _problem("The body is not said to be `application/json` in UTF-8."),
        **_PROBLEMS,
    },
}

READ: Mapping[str, Any] = {
    "operationId": "legacyGetAssetMetrics",
    "tags": _TAGS,
    "summary": "Metrics of an asset over a range",
    "description": "Moments in rising order, both ends of the range included; the metrics of a moment in the order in "
    "which the asset first reported them.",
    "parameters": [
        _URN,
        _query("from", _moment_in("string"), "The first moment. Default: 1970-01-01T00:00:00.000Z."),
        _query("to", _moment_in("string"), "The last moment. Default: now."),
        _query(
            "page_size",
            {"type": "integer", "minimum": 1, "maximum": MAX_PAGE_SIZE},
            "Answer a page of so many moments, with the address of the next one in the `Link` header. Without it the "
            "answer is the whole range. Not part of the original API.",
        ),
        _query("page_token", {"type": "string"}, "Which page, as the `Link` of the one before has it."),
    ],
    "responses": {
        "200": {
            "description": "The moments.",
            "headers": {
                "Link": {"description": "With `page_size`: the next page.", "schema": {"type": "string"}},
            },
            "content": {
                "application/json": {
                    "schema": {"type": "array", "items": _ref("LegacyAssetMoment")},
                    "examples": {
                        "moments": {
                            "value": [
                                {
                                    "metrics": [{"name": "qualityScore", "value": 50, "valueType": "NUMBER"}],
                                    "timestamp": "2024-03-02T17:44:00.000Z",
                                }
                            ]
                        }
                    },
                }
            },
        },
        "400": _problem("A parameter is wrong, or the range is reversed."),
        "403": _problem("The token lacks the scope `read:asset_metrics`."),
        **_PROBLEMS,
    },
}

"""Resource names: a short id becomes the full name, a full name stays as it is."""

from __future__ import annotations

from streamgauge.enums import SubjectKind


def source_name(source: str) -> str:
    """Returns `sources/orders` for `orders` and for `sources/orders`."""
    return source if "/" in source else f"sources/{source}"


def token_name(token: str) -> str:
    """Returns `tokens/abc` for `abc` and for `tokens/abc`."""
    return token if "/" in token else f"tokens/{token}"


def descriptor_name(metric: str, kind: SubjectKind | str = SubjectKind.SOURCE) -> str:
    """Returns `metricDescriptors/sources/byteTotal` for `byteTotal`; a name that already begins so stays as it is."""
    return metric if metric.startswith("metricDescriptors/") else f"metricDescriptors/{SubjectKind(kind)}/{metric}"

"""Resource names: a short id becomes the full name, a full name stays as it is."""

from __future__ import annotations

from streamgauge.enums import SubjectKind


def source_name(source: str) -> str:
    """Returns `sources/orders` for `orders` and for `sources/orders`."""
    return source if "/" in source else f"sources/{source}"


def job_name(job: str) -> str:
    """Returns `jobs/orders` for `orders` and for `jobs/orders`."""
    return job if job.startswith("jobs/") else f"jobs/{job}"


def job_type_name(job_type: str) -> str:
    """Returns `jobTypes/load` for `load` and for `jobTypes/load`; nothing for nothing."""
    return f"jobTypes/{job_type}" if job_type and "/" not in job_type else job_type


def metric_type_name(metric_type: str) -> str:
    """Returns `metricTypes/power` for `power` and for `metricTypes/power`."""
    return metric_type if "/" in metric_type else f"metricTypes/{metric_type}"


def choice_name(metric_type: str, choice: str) -> str:
    """Returns `metricTypes/power/choices/hall` for `hall` and for the full name."""
    return choice if "/" in choice else f"{metric_type_name(metric_type)}/choices/{choice}"


def token_name(token: str) -> str:
    """Returns `tokens/abc` for `abc` and for `tokens/abc`."""
    return token if "/" in token else f"tokens/{token}"


def descriptor_name(metric: str, kind: SubjectKind | str = SubjectKind.SOURCE) -> str:
    """Returns `metricDescriptors/sources/byteTotal` for `byteTotal`; a name that already begins so stays as it is."""
    return metric if metric.startswith("metricDescriptors/") else f"metricDescriptors/{SubjectKind(kind)}/{metric}"

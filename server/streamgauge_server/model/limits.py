"""The limits in force. Each is a setting, told by `GetServerInfo`, and named in the error with limit and actual."""

from __future__ import annotations

from dataclasses import dataclass, field, fields


def _limit(default: int, unit: str, about: str) -> int:
    value: int = field(default=default, metadata={"unit": unit, "about": about})
    return value


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on requests, answers and growth."""

    max_request_bytes: int = _limit(16 * 1024 * 1024, "bytes", "Size of one request message.")
    max_response_bytes: int = _limit(4 * 1024 * 1024, "bytes", "Size of one response message.")
    max_observations_per_write: int = _limit(5_000, "observations", "Observations in one WriteMetrics.")
    max_metrics_per_observation: int = _limit(10_000, "metrics", "Values in one observation or columns in one frame.")
    max_samples_per_frame: int = _limit(100_000, "samples", "Samples in one frame, counted over all columns.")
    max_text_bytes: int = _limit(4_096, "bytes", "Size of one text value.")
    max_windows: int = _limit(11_000, "windows", "Windows in one query.")
    max_subjects_per_query: int = _limit(1_000, "subjects", "Subjects in one query or latest call.")
    max_future_seconds: int = _limit(600, "seconds", "How far ahead of the server's clock a sample may be.")
    max_emit_future_seconds: int = _limit(
        86_400, "seconds", "How far ahead of the server's clock the moment of an emit on an asset may be."
    )
    max_stacktrace_bytes: int = _limit(65_536, "bytes", "What is kept of the text of one exception of a job.")
    max_urn_bytes: int = _limit(4_096, "bytes", "Size of the URN of an asset.")
    max_subjects_per_tenant: int = _limit(1_000_000, "subjects", "Subjects of one tenant, parts not counted.")
    max_parts_per_subject: int = _limit(10_000, "parts", "Parts of one subject.")
    max_metrics_per_tenant: int = _limit(100_000, "metrics", "Metric descriptors of one tenant.")
    max_call_seconds: int = _limit(30, "seconds", "Time of one unary call, also when the caller allows more.")

    def items(self) -> list[tuple[str, int, str]]:
        """Returns name, value and unit of every limit."""
        return [(f.name, getattr(self, f.name), f.metadata["unit"]) for f in fields(self)]

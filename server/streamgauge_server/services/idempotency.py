"""Request ids: a repeat of a write with the id and the body of the first gets the first answer."""

from __future__ import annotations

from dataclasses import dataclass

from streamgauge_server.model.errors import DomainError, Reason, Violation
from streamgauge_server.storage.records import RequestRecord

MAX_ID = 128


@dataclass(frozen=True, slots=True)
class Idempotency:
    """A caller's request id and the digest of the body that came with it."""

    request_id: str
    body_digest: bytes

    def problem(self) -> str | None:
        """Returns what is wrong with the request id."""
        return id_problem(self.request_id)

    def record(self, tenant: str, response: bytes) -> RequestRecord:
        """Returns what is kept so that a repeat gets the same answer."""
        return RequestRecord(tenant, self.request_id, self.body_digest, response)

    def first_answer(self, stored: RequestRecord) -> bytes:
        """Returns the answer to the first request with this id.

        Raises:
            DomainError: REQUEST_ID_REUSED when it came with another body.
        """
        if stored.body_digest == self.body_digest:
            return stored.response
        problem = "was used with another body within 24 hours"
        raise DomainError(
            Reason.REQUEST_ID_REUSED,
            f"request_id: {problem}",
            metadata={"request_id_field": self.request_id},
            violations=[Violation("request_id", problem, Reason.REQUEST_ID_REUSED)],
        )


def id_problem(text: str) -> str | None:
    """Returns what is wrong with a request id or a run id that is given."""
    if len(text) > MAX_ID or not (text.isascii() and text.isprintable()):
        return f"must have 1 to {MAX_ID} printable ASCII characters, has {len(text)}"
    return None

"""Runs while a transaction changes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from streamgauge_server.model.jobs import Execution, JobRun, RunException, Vertex, status_order


@dataclass(slots=True, eq=False)
class RunEntry:
    """A run that an update names: as it was before this transaction, as it is stored by now, and as it becomes.

    `before` and `stored` are None while it is not known. `executions` are those that were told of it, by their ids.
    `kept` is false once it has to go.
    """

    job: int
    before: JobRun | None
    stored: JobRun | None
    run: JobRun
    vertices: Sequence[Vertex] | None = None
    exceptions: list[RunException] = field(default_factory=list)
    executions: dict[str, Execution] = field(default_factory=dict)
    kept: bool = True

    @property
    def moved(self) -> bool:
        """Whether the status of the job may have to tell of another run, or of another state."""
        before = self.before
        return before is None or (status_order(before), before.state) != (status_order(self.run), self.run.state)

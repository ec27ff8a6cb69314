"""The catalog of errors by which failures of jobs are counted, and those that ship with the server."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class ErrorCategory(IntEnum):
    """What kind of trouble an error is; the contract's numbers."""

    SYSTEM = 1
    DATA = 2
    ALGORITHM = 3


@dataclass(frozen=True, slots=True)
class ErrorInfo:
    """An error of the catalog. `number` is stable for as long as it exists; `job_type_name` is "" for all types."""

    number: int
    error: str
    category: ErrorCategory
    title: str = ""
    description: str = ""
    job_type_name: str = ""
    built_in: bool = False
    should_be_retried: bool = False


def _system(error: str, title: str, description: str, *, retry: bool = True) -> ErrorInfo:
    return ErrorInfo(0, error, ErrorCategory.SYSTEM, title, description, built_in=True, should_be_retried=retry)


def _algorithm(error: str, title: str, description: str) -> ErrorInfo:
    return ErrorInfo(0, error, ErrorCategory.ALGORITHM, title, description, built_in=True)


BUILT_IN_ERRORS = (
    _system("unknown", "Unknown", "Something went wrong, and nothing tells what."),
    _system("database", "Database", "The database could not be reached or refused to work."),
    _system("database-operation", "Database Operation", "A statement failed in the database."),
    _system("filesystem-io", "File System I/O", "Reading or writing a file failed."),
    _system("ingest-timeout", "Ingest Timeout", "Ingesting a file took longer than it may.", retry=False),
    _system("task-launch", "Task Launch", "A task could not be launched."),
    _system("docker-task-launch", "Docker Task Launch", "Docker could not launch a task's container."),
    _system("docker-terminated", "Docker Terminated", "Docker went away while a task's container ran."),
    _system("node-lost", "Node Lost", "The node on which the job ran was lost."),
    _system("resource-starvation", "Resource Starvation", "The resources that the job needs did not become free."),
    _system("launch-timeout", "Launch Timeout", "Launching took longer than it may."),
    _system("pull-timeout", "Pull Timeout", "Fetching the job's image took longer than it may."),
    _system("pre-timeout", "Pre-task Timeout", "Preparing the job took longer than it may."),
    _system("post-timeout", "Post-task Timeout", "Cleaning up after the job took longer than it may."),
    _system("system-timeout", "System Timeout", "A system job took longer than it may.", retry=False),
    _system("pull", "Pull", "The job's image could not be fetched."),
    _system("missing-setting", "Missing Setting", "A setting that the job needs has no value.", retry=False),
    _system("missing-mount", "Missing Mount", "A volume that the job needs is not mounted.", retry=False),
    _system("scheduler-lost", "Scheduler Lost", "The scheduler stopped while the job ran."),
    _system("deleted-file", "Deleted File", "A file that the job reads was deleted.", retry=False),
    _system("missing-file", "Missing File", "A file that the job reads is not where it should be.", retry=False),
    _algorithm("timeout", "Timeout", "The job's own work took longer than it may."),
    _algorithm("algorithm-unknown", "Unknown Algorithm Error", "The job's program failed without saying of what."),
    _algorithm(
        "invalid-results-manifest",
        "Invalid Results Manifest",
        "What the job's program says of its results is malformed.",
    ),
    _algorithm("missing-required-output", "Missing Required Output", "An output that must be there is missing."),
    _algorithm(
        "unexpected-multiple-outputs", "Unexpected Multiple Outputs", "There are several files where one was expected."
    ),
    _system("test", "Test", "Told on purpose, to see whether errors arrive.", retry=False),
)
"""Every tenant has them, in this order before its own. New ones are added at the end."""

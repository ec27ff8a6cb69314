"""Exceptions of jobs: where the error is, what is cut, which are the same."""

from __future__ import annotations

import re

import pytest
from streamgauge_server.flink.failures import HISTORY_SIZE, MAX_CONCURRENT, MAX_STACK_BYTES, FailureHistory, cut_stack

from tests.flink.recordings import VERSIONS, recording

JID = "576cc71be43678de4371fbd6ac3c0503"


def history(*entries: dict[str, object], truncated: bool = False) -> FailureHistory:
    return FailureHistory.parse({"exceptionHistory": {"entries": list(entries), "truncated": truncated}})


@pytest.mark.parametrize("version", VERSIONS)
def test_a_job_in_which_nothing_failed_has_no_exception(version: str) -> None:
    healthy = FailureHistory.parse(recording("job_long_exceptions", version).answer)
    assert (healthy.root, healthy.truncated) == (None, False)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_failed_job_tells_the_wrapper_and_the_cause(version: str) -> None:
    failed = FailureHistory.parse(recording("job_fail_exceptions", version).answer)
    assert failed.root is not None
    assert failed.root.name == "org.apache.flink.runtime.JobException"
    assert failed.root.task == ""
    assert failed.root.stack.startswith("org.apache.flink.runtime.JobException: Recovery is suppressed")
    cause = failed.root.cause
    assert cause is not None
    assert (cause.name, cause.task) == ("java.lang.IllegalStateException", "Flat Map (1/1) - execution #0")
    assert cause.endpoint.startswith("localhost:")
    assert failed.root.summary.startswith("java.lang.IllegalStateException: demo failure at record ")
    assert not failed.truncated


def test_restarts_are_told_one_by_one_newest_first() -> None:
    restarted = FailureHistory.parse(recording("job_restart_exceptions").answer)
    times = [entry.time_ms for entry in restarted.entries if entry.time_ms]
    assert len(times) == 4
    assert times == sorted(times, reverse=True)
    assert [entry.cause is None for entry in restarted.entries] == [False, True, True, True]
    assert restarted.entries[1].summary == "java.lang.IllegalStateException: demo failure at record 60"


def test_a_lost_task_manager_is_the_cause() -> None:
    lost = FailureHistory.parse(recording("tm_down_job_norestart_exceptions").answer).root
    assert lost is not None
    assert lost.summary.endswith("is no longer reachable.")


@pytest.mark.parametrize(
    ("name", "version", "entries", "truncated"),
    [
        ("job_many_failures_exceptions", "v2_3", HISTORY_SIZE, True),  # 26 failures; Flink says false
        ("job_many_failures_exceptions_max3", "v2_3", 3, True),
        ("job_restart_exceptions", "v2_3", 4, False),
        ("job_restart_exceptions_max1", "v1_20", 1, True),  # the outer flag says false
    ],
)
def test_a_history_that_may_have_lost_entries_says_so(name: str, version: str, entries: int, truncated: bool) -> None:
    told = FailureHistory.parse(recording(name, version).answer)
    assert (len(told.entries), told.truncated) == (entries, truncated)


def test_without_a_history_the_single_exception_of_old_versions_is_taken() -> None:
    told = FailureHistory.parse({"root-exception": "a.B: no\n\tat c", "timestamp": 12, "truncated": True})
    assert told.root is not None
    assert (told.root.name, told.root.time_ms, told.root.summary) == ("a.B", 12, "a.B: no")
    assert told.truncated
    assert FailureHistory.parse({"root-exception": None, "timestamp": None, "truncated": False}).root is None


def test_the_same_exception_has_the_same_fingerprint_in_every_answer() -> None:
    all_of_them = FailureHistory.parse(recording("job_many_failures_exceptions").answer)
    newest = FailureHistory.parse(recording("job_many_failures_exceptions_max3").answer)
    prints = [entry.fingerprint(JID) for entry in all_of_them.entries]
    assert len(set(prints)) == HISTORY_SIZE
    assert [entry.fingerprint(JID) for entry in newest.entries] == prints[:3]
    assert newest.entries[0].fingerprint("0" * 32) != prints[0]


def test_stacks_that_differ_in_what_is_cut_have_different_fingerprints() -> None:
    long = "x" * (2 * MAX_STACK_BYTES)
    one, other = history({"stacktrace": long + "1"}, {"stacktrace": long + "2"}).entries
    assert one.stack == other.stack
    assert one.fingerprint(JID) != other.fingerprint(JID)


def test_a_stack_of_two_megabytes_keeps_its_head_and_its_last_cause() -> None:
    message = "demo failure" + " padding" * 250_000
    frames = "\tat a.B.c(B.java:1)\n" * 5_000
    stack = f"a.Wrapper: no\n{frames}Caused by: e.F: {message}\n\tat g.H.i(H.java:2)\n"
    (entry,) = history({"stacktrace": stack}).entries
    assert entry.truncated
    assert len(entry.stack.encode()) <= MAX_STACK_BYTES
    assert entry.stack.startswith("a.Wrapper: no\n\tat a.B.c(B.java:1)\n")
    assert "\nCaused by: e.F: demo failure padding" in entry.stack
    left_out = re.search(r"\n… (\d+) bytes left out …\n", entry.stack)
    assert left_out is not None
    assert len(entry.stack.encode()) - len(left_out[0].encode()) + int(left_out[1]) + 1 == len(stack)


def test_how_much_is_kept_of_a_stack_can_be_told() -> None:
    told = {"stacktrace": "x" * 2_000, "concurrentExceptions": [{"stacktrace": "y" * 2_000}]}
    (entry,) = FailureHistory.parse({"exceptionHistory": {"entries": [told]}}, max_stack_bytes=1_000).entries
    assert all(one.truncated and len(one.stack.encode()) <= 1_000 for one in (entry, *entry.concurrent))


def test_the_last_cause_stands_whole_where_it_is_short() -> None:
    last = "\nCaused by: e.F: the reason\n\tat g.H.i(H.java:2)\n"
    cut, truncated = cut_stack("\nCaused by: first" + "x" * MAX_STACK_BYTES + last)
    assert truncated
    assert cut.endswith(last)


@pytest.mark.parametrize("limit", range(100, 108))
def test_no_character_is_cut_in_two(limit: int) -> None:
    cut, truncated = cut_stack("é🚀" * 50 + "\nCaused by: " + "ü🚀" * 50, limit)
    assert truncated
    assert limit - 32 < len(cut.encode()) <= limit
    assert "�" not in cut


def test_a_cause_that_begins_within_the_head_is_not_repeated() -> None:
    cut, _ = cut_stack("a.B: no\nCaused by: c.D: " + "x" * 2 * MAX_STACK_BYTES)
    assert cut.count("Caused by") == 1
    assert MAX_STACK_BYTES - 32 < len(cut.encode()) <= MAX_STACK_BYTES


def test_a_stack_within_the_limit_stays_as_it_is() -> None:
    assert cut_stack("ü" * (MAX_STACK_BYTES // 2)) == ("ü" * (MAX_STACK_BYTES // 2), False)


def test_nul_and_lone_surrogates_are_taken_out() -> None:
    (entry,) = history({"stacktrace": "a\0b\udfff", "taskName": "t\0", "failureLabels": {"k\0": "v\0"}}).entries
    assert (entry.stack, entry.task, entry.labels) == ("ab?", "t", {"k": "v"})


def test_of_exceptions_that_came_together_some_are_kept() -> None:
    together = [{"stacktrace": f"s{number}", "taskName": "t"} for number in range(1_000)]
    (entry,) = history({"stacktrace": "wrapper", "concurrentExceptions": together}).entries
    assert len(entry.concurrent) == MAX_CONCURRENT
    assert entry.cause is not None
    assert entry.cause.stack == "s0"


def test_entries_without_any_field_are_read() -> None:
    (entry,) = history({}).entries
    assert (entry.name, entry.time_ms, entry.stack, entry.summary, entry.cause) == ("", None, "", "", None)

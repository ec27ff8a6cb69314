"""The client against a small Flink that replays recordings, and that misbehaves in every way that has been seen."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from streamgauge_server.flink.addresses import Tls
from streamgauge_server.flink.client import MAX_TARGET, FlinkClient
from streamgauge_server.flink.credentials import Credentials
from streamgauge_server.flink.errors import MAX_REASON, Cause, FlinkError, NotFound, Refused, TooLarge, Unreachable
from streamgauge_server.flink.states import FlinkState
from streamgauge_server.flink.transport import MAX_CONNECTIONS

from tests.flink import fake as fakes
from tests.flink.fake import Answer, Behaviour, FakeFlink, Request
from tests.flink.fake_jobs import FakeJob, FakeJobs
from tests.flink.recordings import VERSIONS, recording
from tests.rpc.certificates import Authority

JID = "576cc71be43678de4371fbd6ac3c0503"
FINISHED = "b6cb47f36a3c65754f89e0369b3f490f"
UNKNOWN = "deadbeefdeadbeefdeadbeefdeadbeef"
SOURCE = "bc764cd8ddf7a0cff126f51c16239658"
TRIGGER = "feedfacefeedfacefeedfacefeedface"
DASHED = "576cc71b-e436-78de-4371-fbd6ac3c0503"


@pytest.fixture
async def flink() -> AsyncIterator[FakeFlink]:
    async with FakeFlink() as fake:
        fake.replay("v2_3")
        yield fake


@pytest.fixture
async def client(flink: FakeFlink) -> AsyncIterator[FlinkClient]:
    async with FlinkClient([flink.base_url], read_timeout=0.3, connect_timeout=1.0) as client:
        yield client


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_cluster_and_its_jobs_are_read(version: str) -> None:
    async with FakeFlink() as fake, FlinkClient([fake.base_url]) as client:
        fake.replay(version)
        overview = await client.overview()
        assert overview.version == {"v2_3": "2.3.0", "v1_20": "1.20.5"}[version]
        assert (await client.config()).refresh_interval_ms == {"v2_3": 3000, "v1_20": 500}[version]
        fake.play(recording("jobs_overview", version))
        jobs = {job.name: job for job in await client.jobs()}
        for name in ("orders-1", "finite-1", "failing-1"):
            details = await client.job(jobs[name].jid)
            assert (details.jid, details.name) == (jobs[name].jid, name)


async def test_status_exceptions_and_metrics_are_read(flink: FakeFlink, client: FlinkClient) -> None:
    assert await client.status("524b0ad658887ae275cd37f190017031") == "CANCELED"
    flink.play(recording("job_fail_exceptions"), "/jobs/c8900e69be1b8ca6dd06820680ccc687/exceptions?maxExceptions=20")
    failed = await client.exceptions("c8900e69be1b8ca6dd06820680ccc687")
    assert failed.root is not None
    assert "numRecordsOut" in await client.subtask_metric_names(JID, SOURCE)
    values = await client.vertex_metrics(JID, SOURCE, ["0.numRecordsOut", "1.numRecordsOut"])
    assert set(values) == {"0.numRecordsOut", "1.numRecordsOut"}
    values = await client.job_metrics(JID, ["nope", "uptime"])
    assert set(values) == {"uptime"}
    target = f"/jobs/{JID}/vertices/{SOURCE}/subtasks/metrics?agg=min,max,sum&get=numRecordsOut"
    flink.play(recording("vertex_source_subtasks_agg_minmax"), target)
    assert (await client.subtask_aggregates(JID, SOURCE, ["numRecordsOut"]))["numRecordsOut"].sum == 2154.0


async def test_nothing_is_asked_for_no_names(flink: FakeFlink, client: FlinkClient) -> None:
    assert await client.job_metrics(JID, []) == {}
    assert await client.subtask_aggregates(JID, SOURCE, ()) == {}
    assert flink.requests == []


async def test_many_names_are_asked_in_requests_that_flink_takes_and_names_are_quoted(
    flink: FakeFlink, client: FlinkClient
) -> None:
    flink.answers["GET", f"/jobs/{JID}/vertices/{SOURCE}/metrics"] = Answer.of([])
    names = [f"{subtask}.Filter(a=b&c)#_ü.currentEventTs" for subtask in range(300)]
    await client.vertex_metrics(JID, SOURCE, names)
    assert len(flink.requests) > 1
    assert all(len(target) <= MAX_TARGET for target in flink.targets())
    asked = [target.partition("?get=")[2].split(",") for target in flink.targets()]
    assert asked[0][0] == "0.Filter%28a%3Db%26c%29%23_%C3%BC.currentEventTs"
    assert sum(len(some) for some in asked) == 300


async def test_ids_that_are_none_are_never_sent(flink: FakeFlink, client: FlinkClient) -> None:
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: client.job(DASHED),
        lambda: client.status("../overview"),
        lambda: client.exceptions(""),
        lambda: client.cancel(DASHED),
        lambda: client.stop(DASHED, trigger_id=TRIGGER),
        lambda: client.stop(JID, trigger_id="mine"),
        lambda: client.savepoint(JID, "?"),
        lambda: client.job_metrics("x", ["y"]),
        lambda: client.subtask_metric_names(JID, "x"),
        lambda: client.exceptions(JID, 0),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=r"is not an id of Flink|at least one exception"):
            await call()
    assert flink.requests == []


async def test_an_unknown_job_is_not_found(client: FlinkClient) -> None:
    with pytest.raises(NotFound) as told:
        await client.job(UNKNOWN)
    assert told.value.reason == f"Job {UNKNOWN} not found"
    with pytest.raises(NotFound, match=r"^Could not find Flink job"):
        await client.status(UNKNOWN)
    with pytest.raises(NotFound, match=r"^Job could not be found\.$"):
        await client.cancel(UNKNOWN)
    with pytest.raises(NotFound, match="There is no savepoint operation"):
        await client.savepoint(JID, "0" * 32)


async def test_an_error_inside_flink_is_told_by_what_follows_its_heading(flink: FakeFlink, client: FlinkClient) -> None:
    flink.misbehave(fakes.saying(Answer(recording("job_exceptions_maxneg").body, 500)), times=1)
    with pytest.raises(Unreachable, match=r"HTTP status 500: -1$"):
        await client.exceptions(JID)
    flink.misbehave(fakes.saying(Answer.error(500, "Internal server error.")), times=1)
    with pytest.raises(Unreachable, match=r"HTTP status 500: Internal server error\.$"):
        await client.exceptions(JID)


async def test_a_job_that_has_ended_otherwise_is_not_cancelled(client: FlinkClient) -> None:
    with pytest.raises(Refused) as told:
        await client.cancel(FINISHED)
    assert told.value.status == 409
    assert told.value.reason == (
        "Job cancellation failed because the job has already reached another terminal state (FINISHED)."
    )


async def test_cancelling_sends_the_mode_and_returns_when_it_is_accepted(flink: FakeFlink, client: FlinkClient) -> None:
    await client.cancel("8ebc2194bb12192d36b15cc45e11a9d9")
    assert flink.targets("PATCH") == ["/jobs/8ebc2194bb12192d36b15cc45e11a9d9?mode=cancel"]


async def test_a_stop_carries_the_callers_trigger(flink: FakeFlink, client: FlinkClient) -> None:
    chained = "511415ba5dbfb76b470309c50f6fc90e"
    assert await client.stop(chained, trigger_id=TRIGGER.upper(), target_directory="file:///s") == TRIGGER
    assert (
        flink.requests[-1].body == b'{"drain":false,"triggerId":"%s","targetDirectory":"file:///s"}' % TRIGGER.encode()
    )
    assert (await client.savepoint(chained, TRIGGER)).location.startswith("file:/")


BAD: dict[str, tuple[Behaviour, Cause, str]] = {
    "never answers": (fakes.never_answer, Cause.TIMEOUT, "did not answer in time"),
    "drips": (fakes.dripping_body, Cause.TIMEOUT, "did not answer in time"),
    "half a body": (fakes.half_a_body, Cause.CONNECTION, "broke off"),
    "hangs up": (fakes.drop, Cause.CONNECTION, "broke off"),
    "html": (fakes.HTML, Cause.NOT_FLINK, "not JSON"),
    "not json": (fakes.NOT_JSON, Cause.NOT_FLINK, "not JSON"),
    "not utf-8": (fakes.saying(Answer(b'"\xff"')), Cause.NOT_FLINK, "not JSON"),
    "empty": (fakes.saying(Answer(b"")), Cause.NOT_FLINK, "not JSON"),
    "deep": (fakes.saying(Answer(b"[" * 200_000)), Cause.NOT_FLINK, "not JSON"),
    "a number of 5,000 digits": (fakes.saying(Answer(b"9" * 5_000)), Cause.NOT_FLINK, "not JSON"),
    "other json": (fakes.saying(Answer(b'{"status":"UP"}')), Cause.NOT_FLINK, "not Flink's"),
    "compressed": (
        fakes.saying(Answer(b"\x1f\x8b", headers={"content-encoding": "gzip"})),
        Cause.NOT_FLINK,
        "compressed",
    ),
    "leader election": (fakes.LEADER_ELECTION, Cause.STATUS, "ongoing leader election"),
    "gateway": (fakes.saying(Answer(b"<html>", 502, "text/html")), Cause.STATUS, "HTTP status 502"),
    "login": (fakes.saying(Answer(b"<html>", 401, "text/html")), Cause.STATUS, "HTTP status 401"),
    "redirect": (fakes.redirect("http://elsewhere.invalid/"), Cause.STATUS, "HTTP status 302"),
    "another server's 404": (fakes.saying(Answer(b"<html>", 404, "text/html")), Cause.NOT_FLINK, "REST API"),
    "another server's 400": (fakes.saying(Answer(b"<html>", 400, "text/html")), Cause.STATUS, "HTTP status 400"),
    "not http": (fakes.saying_bytes(b"SSH-2.0-OpenSSH_9.2\r\n"), Cause.CONNECTION, "broke off"),
}


@pytest.mark.parametrize("name", BAD)
async def test_whatever_is_no_answer_of_flink_is_unreachable_and_it_recovers(
    flink: FakeFlink, client: FlinkClient, name: str
) -> None:
    behaviour, cause, reason = BAD[name]
    flink.misbehave(behaviour, times=1)
    with pytest.raises(Unreachable, match=reason) as told:
        await client.jobs()
    assert told.value.cause is cause
    assert len(flink.requests) == 1
    assert len(await client.jobs()) > 0


async def test_a_job_under_a_wrong_prefix_is_not_called_unknown(flink: FakeFlink) -> None:
    async with FlinkClient([f"{flink.base_url}/flinkk"]) as client:
        with pytest.raises(Unreachable, match="does not lead to Flink's REST API"):
            await client.job(JID)
    flink.play(recording("err_wrong_method"), f"/flinkk/jobs/{JID}")
    flink.answers["GET", f"/jobs/{JID}"] = Answer(recording("err_wrong_method").body, 404)
    async with FlinkClient([flink.base_url]) as client:
        with pytest.raises(Unreachable, match="does not lead to Flink's REST API"):
            await client.job(JID)


async def test_an_endless_body_is_cut_off(flink: FakeFlink) -> None:
    flink.misbehave(fakes.endless_body)
    async with FlinkClient([flink.base_url], max_body=1_000_000) as client:
        with pytest.raises(TooLarge, match="larger than 1000000 bytes"):
            await client.jobs()


async def test_a_body_within_the_bound_is_read_and_one_beyond_is_not(flink: FakeFlink) -> None:
    body = recording("jobs_overview").body
    flink.answers["GET", "/jobs/overview"] = Answer(body)
    async with FlinkClient([flink.base_url], max_body=len(body)) as client:
        assert await client.jobs()
    async with FlinkClient([flink.base_url], max_body=len(body) - 1) as client:
        with pytest.raises(TooLarge):
            await client.jobs()


async def test_a_stack_trace_of_two_megabytes_becomes_a_line(flink: FakeFlink, client: FlinkClient) -> None:
    stack = "a.b.SomeException: it broke" + " again" * 50_000 + "\n\tat secret.Place.of(Us.java:1)" * 60_000
    flink.misbehave(fakes.saying(Answer.error(500, stack)), times=1)
    flink.misbehave(fakes.saying(Answer.error(404, stack)), times=1)
    flink.misbehave(fakes.saying(Answer.error(409, stack)), times=1)
    for kind in (Unreachable, NotFound, Refused):
        with pytest.raises(kind) as told:
            await client.job(JID)
        assert len(told.value.reason) <= MAX_REASON
        assert "it broke again" in told.value.reason
        assert "secret" not in str(told.value)


async def test_a_huge_exception_history_is_read(flink: FakeFlink, client: FlinkClient) -> None:
    entry = {"exceptionName": "a.B", "stacktrace": "a.B: no" + "\n\tat c.D" * 250_000, "timestamp": 5}
    flink.answers["GET", f"/jobs/{JID}/exceptions"] = Answer.of({"exceptionHistory": {"entries": [entry]}})
    root = (await client.exceptions(JID)).root
    assert root is not None
    assert root.truncated


async def test_redirects_are_not_followed(flink: FakeFlink, client: FlinkClient) -> None:
    async with FakeFlink() as other:
        flink.misbehave(fakes.redirect(f"{other.base_url}/jobs/overview"))
        with pytest.raises(Unreachable, match="302"):
            await client.jobs()
        assert other.requests == []


async def test_a_refused_connection_an_unknown_host_and_a_wrong_certificate_are_told() -> None:
    async with FakeFlink() as fake:
        plain = fake.base_url
        # Patient: that the server speaks no TLS is to be found out, however busy the machine is.
        async with FlinkClient([plain.replace("http", "https")], connect_timeout=30) as client:
            with pytest.raises(Unreachable, match="TLS with the cluster failed"):
                await client.jobs()
    async with FlinkClient([plain]) as client:
        with pytest.raises(Unreachable, match="no connection: Connection refused") as told:
            await client.jobs()
    assert told.value.cause is Cause.CONNECTION
    assert not told.value.may_have_arrived
    assert "127.0.0.1" not in told.value.reason
    async with FlinkClient(["http://cluster.invalid:8081"], connect_timeout=30) as client:
        with pytest.raises(Unreachable, match="the host is unknown"):
            await client.jobs()


async def test_a_cluster_that_comes_back_is_reached_again(flink: FakeFlink, client: FlinkClient) -> None:
    await client.jobs()
    await flink.stop()
    with pytest.raises(Unreachable):
        await client.jobs()
    await flink.start()
    assert await client.jobs()


async def test_the_next_address_is_tried_and_then_kept(flink: FakeFlink) -> None:
    async with FakeFlink() as standby:
        standby.misbehave(fakes.LEADER_ELECTION)
        async with FlinkClient([standby.base_url, flink.base_url]) as client:
            await client.overview()
            await client.jobs()
            assert len(standby.requests) == 1
            await flink.stop()
            with pytest.raises(Unreachable, match=r"no connection.*; .*leader election"):
                await client.jobs()
            await flink.start()
            assert await client.jobs()


async def test_an_address_that_says_not_found_is_believed(flink: FakeFlink) -> None:
    async with FakeFlink() as other, FlinkClient([flink.base_url, other.base_url]) as client:
        with pytest.raises(NotFound):
            await client.job(UNKNOWN)
        assert other.requests == []


@pytest.mark.parametrize(
    ("behaviour", "sent_again"),
    [(fakes.never_answer, False), (fakes.drop, False), (fakes.HTML, False), (fakes.LEADER_ELECTION, True)],
)
async def test_what_changes_something_is_sent_again_only_if_it_cannot_have_arrived(
    flink: FakeFlink, behaviour: Behaviour, sent_again: bool
) -> None:
    jid = "8ebc2194bb12192d36b15cc45e11a9d9"
    async with FakeFlink() as first:
        first.misbehave(behaviour)
        async with FlinkClient([first.base_url, flink.base_url], read_timeout=0.2) as client:
            if sent_again:
                await client.cancel(jid)
            else:
                with pytest.raises(Unreachable) as told:
                    await client.cancel(jid)
                assert told.value.may_have_arrived
    assert len(first.requests) == 1
    assert len(flink.requests) == sent_again


async def test_a_cluster_that_never_answers_is_given_up_in_time(flink: FakeFlink) -> None:
    flink.misbehave(fakes.never_answer)
    async with FlinkClient([flink.base_url], connect_timeout=0.2, read_timeout=0.2) as client:
        began = time.monotonic()
        with pytest.raises(Unreachable):
            await client.jobs()
        assert time.monotonic() - began < 2


async def test_waiting_for_a_connection_is_not_the_clusters_fault() -> None:
    free = asyncio.Event()
    busy = 0

    async def slow(_: Request, writer: asyncio.StreamWriter) -> None:
        nonlocal busy
        busy += 1
        if busy == MAX_CONNECTIONS:
            free.set()
        await free.wait()
        await asyncio.sleep(0.2)
        await fakes.send(writer, Answer(recording("jobs_overview").body))

    async with FakeFlink() as fake, FlinkClient([fake.base_url], connect_timeout=0.3, read_timeout=0.3) as client:
        fake.misbehave(slow)
        answers = await asyncio.gather(*(client.jobs() for _ in range(5 * MAX_CONNECTIONS)))
        assert all(answers)
        assert busy == 5 * MAX_CONNECTIONS


async def test_a_cancelled_call_leaves_the_client_as_it_was(flink: FakeFlink, client: FlinkClient) -> None:
    flink.misbehave(fakes.never_answer, times=MAX_CONNECTIONS)
    calls = [asyncio.create_task(client.jobs()) for _ in range(MAX_CONNECTIONS)]
    await flink.received(MAX_CONNECTIONS)
    for call in calls:
        call.cancel()
    assert all(isinstance(r, asyncio.CancelledError) for r in await asyncio.gather(*calls, return_exceptions=True))
    assert await client.jobs()


@pytest.mark.parametrize("suffix", ["", "/", "/v1", "/v1/"])
async def test_addresses_may_have_a_prefix(suffix: str) -> None:
    async with FakeFlink(prefix="/proxy/flink" + suffix.rstrip("/")) as fake:
        fake.replay("v2_3")
        async with FlinkClient([fake.base_url + "/"]) as client:
            assert (await client.job(JID)).jid == JID
        assert fake.targets() == [f"/proxy/flink{suffix.rstrip('/')}/jobs/{JID}"]


async def test_credentials_are_sent_and_never_told(flink: FakeFlink) -> None:
    credentials = Credentials(lambda: "hunter2", "sg")
    async with FlinkClient([flink.base_url], credentials=credentials) as client:
        await client.jobs()
        flink.misbehave(fakes.saying(Answer(b"", 403)))
        with pytest.raises(Unreachable) as told:
            await client.jobs()
    headers = flink.requests[0].headers
    assert headers["authorization"] == "Basic c2c6aHVudGVyMg=="
    assert headers["accept-encoding"] == "identity"
    assert "hunter2" not in str(told.value)


class Rotated:
    """A secret in a file, and a cluster that takes only one."""

    def __init__(self, flink: FakeFlink, path: Path) -> None:
        self.path = path
        self.path.write_text("first")
        self.accepted = "first"
        self.credentials = Credentials(self.path.read_text)
        respond = flink.respond
        flink.answers.clear()
        flink.respond = lambda request: (
            respond(request) or Answer.of({"jobs": []})
            if request.headers.get("authorization") == f"Bearer {self.accepted}"
            else Answer.error(401, "the token has expired")
        )

    def rotate(self, secret: str) -> None:
        self.path.write_text(secret)
        self.accepted = secret


async def test_a_secret_that_was_replaced_is_read_anew_when_the_cluster_refuses_the_old_one(
    flink: FakeFlink, tmp_path: Path
) -> None:
    rotated = Rotated(flink, tmp_path / "token")
    async with FlinkClient([flink.base_url], credentials=rotated.credentials) as client:
        await client.jobs()
        rotated.rotate("second")
        await asyncio.gather(*(client.jobs() for _ in range(6)))
        assert len(flink.requests) <= 1 + 2 * 6
        before = len(flink.requests)
        await client.cancel(JID)
        assert flink.targets("PATCH") == [f"/jobs/{JID}?mode=cancel"]
        assert len(flink.requests) == before + 1, "the new one is kept"


async def test_a_stop_is_sent_again_with_the_new_secret(flink: FakeFlink, tmp_path: Path) -> None:
    rotated = Rotated(flink, tmp_path / "token")
    rotated.rotate("second")
    async with FlinkClient([flink.base_url], credentials=rotated.credentials) as client:
        await client.cancel(JID)
    assert [request.headers["authorization"] for request in flink.requests] == ["Bearer first", "Bearer second"]


@pytest.mark.parametrize("left", ["first", None, b"\xff"])
async def test_a_secret_that_is_refused_and_not_replaced_is_told(
    flink: FakeFlink, tmp_path: Path, left: str | bytes | None
) -> None:
    rotated = Rotated(flink, tmp_path / "token")
    rotated.accepted = "second"
    if left is None:
        rotated.path.unlink()
    elif isinstance(left, bytes):
        rotated.path.write_bytes(left)
    async with FlinkClient([flink.base_url], credentials=rotated.credentials) as client:
        with pytest.raises(Unreachable) as told:
            await client.jobs()
        assert str(told.value) == "the cluster answered with HTTP status 401" + (
            ": the token has expired" if left == "first" else ", and the secret cannot be read anew"
        )
        assert len(flink.requests) == 1
        rotated.rotate("third")
        await client.jobs()


async def test_a_cluster_is_trusted_by_its_authority_and_trusts_by_a_certificate(tmp_path: Path) -> None:
    authority = Authority("cluster")
    server_files = authority.issue("jobmanager").write(tmp_path, "server")
    certificate_file, key_file = authority.issue("streamgauge").write(tmp_path, "client")
    ca_file = tmp_path / "ca.pem"
    ca_file.write_bytes(authority.cert)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=ca_file)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(*server_files)
    async with FakeFlink(tls=context) as fake:
        fake.replay("v2_3")
        known = Tls(ca_file, certificate_file, key_file)
        async with FlinkClient([fake.base_url], tls=known) as client:
            assert (await client.overview()).version == "2.3.0"
        for tls in (Tls(), Tls(ca_file)):
            async with FlinkClient([fake.base_url], tls=tls) as client:
                with pytest.raises(Unreachable) as told:
                    await client.overview()
                assert told.value.cause is Cause.CONNECTION


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:8081",
        "ftp://h",
        "http://",
        "http://user:secret@h:8081",
        "http://h/?a=b",
        "http://h/#f",
        "http://h:port",
        "file:///etc/passwd",
        "http://[::1",
    ],
)
def test_addresses_that_are_none_are_refused_without_repeating_them(url: str) -> None:
    with pytest.raises(ValueError, match="the address of a cluster") as told:
        FlinkClient([url])
    assert "secret" not in str(told.value)


def test_a_cluster_needs_an_address() -> None:
    with pytest.raises(ValueError, match="needs an address"):
        FlinkClient([])


async def test_two_thousand_jobs_are_read_in_one_answer() -> None:
    fake_jobs = FakeJobs.many(2_000)
    async with FakeFlink() as fake, FlinkClient([fake.base_url]) as client:
        fake.respond = fake_jobs.respond
        jobs = await client.jobs()
        assert len(jobs) == 2_000
        assert len(fake.requests) == 1
        details = await client.job(jobs[7].jid)
        assert (details.name, details.tasks.running) == ("job-7", 2)


async def test_the_fakes_jobs_end_by_cancel_and_by_stop() -> None:
    fake_jobs = FakeJobs([FakeJob(JID, "a"), FakeJob(FINISHED, "b")])
    async with FakeFlink() as fake, FlinkClient([fake.base_url]) as client:
        fake.respond = fake_jobs.respond
        await client.cancel(JID)
        assert await client.status(JID) == "CANCELED"
        trigger = await client.stop(FINISHED, trigger_id=TRIGGER)
        assert (await client.savepoint(FINISHED, trigger)).location
        assert {job.state for job in await client.jobs()} == {FlinkState.CANCELED, FlinkState.FINISHED}
        with pytest.raises(Refused):
            await client.cancel(FINISHED)
        await client.stop(FINISHED, trigger_id="0" * 32)
        assert (await client.savepoint(FINISHED, "0" * 32)).job_unknown
        with pytest.raises(NotFound):
            await client.job(UNKNOWN)


def test_every_error_is_of_one_family() -> None:
    kinds: list[Any] = [Unreachable, NotFound, Refused, TooLarge]
    assert {kind.__bases__ for kind in kinds} == {(FlinkError,)}
    assert set(FlinkError.__subclasses__()) == set(kinds)

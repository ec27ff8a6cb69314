"""Clusters in the settings of a server: how they are written, read and told, and that `serve` follows them."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from streamgauge.v1 import job_service_pb2, server_service_pb2, token_service_pb2
from streamgauge_server.configuration import ConfigurationError, cluster_reference, load, shown
from streamgauge_server.settings import Settings
from streamgauge_server.startup import StartError, open_clusters

from tests.flink.fake import FakeFlink
from tests.flink.fake_jobs import FakeJobs
from tests.rpc.serving import Start

SECRET = "s3cr3t"
Eventually = Callable[[Callable[[], Any]], Awaitable[Any]]


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("STREAMGAUGE_")]:
        monkeypatch.delenv(name)


def problem_of(*clusters: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load({"clusters": list(clusters)})
    return str(caught.value)


def test_a_cluster_is_written_in_one_line() -> None:
    text = "orders=http://jm1:8081,http://jm2:8081/ tenant=eu registration=known poll_seconds=30 user=u password_file=p"
    (cluster,) = load({"clusters": [text]}).clusters
    assert cluster.urls == ("http://jm1:8081", "http://jm2:8081")
    assert (cluster.name, cluster.tenant, cluster.registration, cluster.poll_seconds) == ("orders", "eu", "known", 30.0)
    assert (cluster.user, cluster.password_file) == ("u", Path("p"))


def test_what_is_shown_can_be_given_again() -> None:
    given = "a=http://x:1,http://y:2 tenant=eu token_file=/t; b=https://z/p poll_seconds=2.5"
    settings = load({"clusters": given})
    assert shown(settings)["clusters"] == given
    assert load({"clusters": shown(settings)["clusters"]}) == settings
    assert Settings.model_validate_json(settings.model_dump_json()) == settings


def test_clusters_come_from_the_environment_and_from_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "server.toml"
    config.write_text('[[clusters]]\nname = "a"\nurls = ["http://x:1"]\nca_file = "with blank.pem"\n', encoding="utf-8")
    (cluster,) = load(config=config).clusters
    assert (cluster.name, cluster.ca_file) == ("a", Path("with blank.pem"))
    monkeypatch.setenv("STREAMGAUGE_CLUSTERS", "b=http://y:1; c=http://z:2")
    assert [cluster.name for cluster in load(config=config).clusters] == ["b", "c"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("orders", "form NAME=URL"),
        ("=http://x", "must not be empty"),
        ("a=", "at least 1 item"),
        ("a=ftp://x", "http://host"),
        (f"a=http://u:{SECRET}@x", "must not contain credentials"),
        ("a=http://x colour=red", "options OPTION=VALUE"),
        ("a=http://x tenant=a tenant=b", "each once"),
        ("a=http://x token_file=t token_variable=T", "not from both"),
        ("a=http://x user=u", "go together"),
        ("a=http://x user=u password_file=p token_file=t", "exclude each other"),
        ("a=http://x client_cert_file=c", "go together"),
        ("a=http://x poll_seconds=0", "greater than or equal to 0.1"),
        ("a=http://x registration=some", "'all' or 'known'"),
    ],
)
def test_a_wrong_cluster_is_refused_without_its_secrets(text: str, told: str) -> None:
    problem = problem_of(text)
    assert told in problem
    assert SECRET not in problem


def test_two_clusters_of_a_tenant_have_two_names() -> None:
    assert "two clusters of tenant default are called a" in problem_of("a=http://x", "a=http://y")
    assert len(load({"clusters": ["a=http://x", "a=http://y tenant=b"]}).clusters) == 2


def test_the_reference_tells_all_options_of_a_cluster() -> None:
    assert {"name", "urls", "tenant", "registration", "poll_seconds"} <= {entry.name for entry in cluster_reference()}
    assert all(entry.description.endswith(".") for entry in cluster_reference())


@pytest.mark.parametrize(
    ("source", "authorization"),
    [
        ("token_file={file}", f"Bearer {SECRET}"),
        ("token_variable=FLINK_TOKEN", f"Bearer {SECRET}"),
        ("user=sg password_file={file}", "Basic c2c6czNjcjN0"),
        ("user=sg password_variable=FLINK_TOKEN", "Basic c2c6czNjcjN0"),
    ],
)
async def test_secrets_are_read_at_the_start(
    source: str, authorization: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text(f"{SECRET}\n")
    monkeypatch.setenv("FLINK_TOKEN", SECRET)
    settings = load({"clusters": [f"a=http://x {source.format(file=tmp_path / 'token')}"]})
    assert SECRET not in repr(settings)
    clusters = open_clusters(settings)
    credentials = clusters.configs["default", "a"].credentials
    assert credentials is not None
    assert credentials.authorization == authorization
    assert SECRET not in repr(clusters.configs)
    await clusters.close()


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("token_file=/no/such/file", "cluster a: cannot read /no/such/file: No such file or directory"),
        ("token_variable=NO_SUCH_VARIABLE", "no secret of printable ASCII characters in the environment variable"),
        ("ca_file=/no/such/file", "cluster a: "),
    ],
)
def test_a_secret_that_cannot_be_read_keeps_the_server_from_starting(option: str, told: str) -> None:
    with pytest.raises(StartError, match=told):
        open_clusters(load({"clusters": [f"a=https://x {option}"]}))


@pytest.fixture
async def flink() -> AsyncIterator[tuple[FakeFlink, FakeJobs]]:
    async with FakeFlink() as fake:
        jobs = FakeJobs.many(3)
        fake.respond = jobs.respond
        yield fake, jobs


async def test_a_server_follows_the_clusters_of_its_settings(
    start: Start, flink: tuple[FakeFlink, FakeJobs], eventually: Eventually
) -> None:
    fake, _ = flink
    stubs = await start(clusters=[f"orders={fake.base_url} poll_seconds=0.1"], metrics_port=0)
    asked = server_service_pb2.GetServerInfoRequest()

    async def cluster() -> Any:
        told = await stubs.server.GetServerInfo(asked)
        return told.clusters[0] if told.clusters and told.clusters[0].reachable else None

    found = await eventually(cluster)
    assert (found.cluster, found.version, found.active_runs, found.problem) == ("orders", "2.3.0", 3, "")
    listed = (await stubs.jobs.ListJobs(job_service_pb2.ListJobsRequest())).jobs
    assert {job.name for job in listed} == {"jobs/job-0", "jobs/job-1", "jobs/job-2"}
    assert {job.run.state for job in listed} == {job_service_pb2.JOB_STATE_RUNNING}


async def test_a_server_that_shall_not_collect_asks_its_clusters_nothing(
    start: Start, flink: tuple[FakeFlink, FakeJobs]
) -> None:
    fake, _ = flink
    stubs = await start(clusters=[f"orders={fake.base_url} poll_seconds=0.1"], collect=False)
    assert (await stubs.jobs.ListJobs(job_service_pb2.ListJobsRequest())).total_size == 0
    assert fake.requests == []


async def test_clusters_are_told_to_those_who_may_read_jobs(
    start: Start, flink: tuple[FakeFlink, FakeJobs], eventually: Eventually
) -> None:
    fake, _ = flink
    stubs = await start(clusters=[f"orders={fake.base_url} poll_seconds=0.1"])
    tokens: dict[str, str] = {}
    for scope in ("admin", "read:jobs", "read:asset_metrics"):
        created = await stubs.tokens.CreateToken(
            token_service_pb2.CreateTokenRequest(token=token_service_pb2.Token(scopes=[scope])),
            metadata=[("authorization", f"Bearer {tokens['admin']}")] if tokens else [],
        )
        tokens[scope] = created.secret

    async def clusters(scope: str) -> list[str]:
        told = await stubs.server.GetServerInfo(
            server_service_pb2.GetServerInfoRequest(), metadata=(("authorization", f"Bearer {tokens[scope]}"),)
        )
        return [one.cluster for one in told.clusters]

    assert await eventually(lambda: clusters("read:jobs")) == ["orders"]
    assert await clusters("read:asset_metrics") == []

"""(f) Statuses of jobs from the store, read by many callers at once, against empty calls."""

from __future__ import annotations

from streamgauge.v1 import job_service_pb2 as pb
from streamgauge.v1 import job_service_pb2_grpc as pb_grpc

from tests.bench.calls import CALLERS, CONNECTIONS, throughput
from tests.bench.generator import Command
from tests.bench.report import Goal, Measurement
from tests.bench.session import Session

STATUS = "job_status_vs_echo"
STATUS_METHOD = "/streamgauge.v1.JobService/GetJobStatus"
JOBS = 500
GOAL = Goal(0.3, at_least=True)


def job_status(session: Session) -> list[Measurement]:
    """Measures `GetJobStatus` of jobs that nobody has to be asked about, by 32 callers for different jobs."""
    names = [f"jobs/bench-{number}" for number in range(JOBS)]
    with session.server() as served:
        with served.channel() as channel:
            stub = pb_grpc.JobServiceStub(channel)
            stub.ReportJob(pb.ReportJobRequest(reports=[_report(name) for name in names]))
            answer = stub.GetJobStatus(pb.GetJobStatusRequest(job=names[0]))
        if answer.job.run.state != pb.JOB_STATE_RUNNING or answer.origin != pb.STATUS_ORIGIN_STORED:
            raise AssertionError(f"the status is not the one that was reported: {answer}")
        requests = [pb.GetJobStatusRequest(job=name).SerializeToString() for name in names]
        command = Command(
            served.target,
            STATUS_METHOD,
            session.bodies("statuses", requests),
            CALLERS,
            CONNECTIONS,
            session.scale.call_seconds,
            again=True,
            minimum_bytes=answer.ByteSize() // 2,
        )
        session.generator.run(command)
        rounds = session.rounds(command, served, session.scale.call_rounds)
        profile = session.profile_calls(STATUS, served, command)
    return [throughput(session.name(STATUS), GOAL, rounds, profile)]


def _report(name: str) -> pb.JobReport:
    return pb.JobReport(
        job=name,
        run_id="bench",
        state=pb.JOB_STATE_RUNNING,
        restart_count=1,
        tasks=pb.TaskCounts(running=8, finished=0, total=8),
    )

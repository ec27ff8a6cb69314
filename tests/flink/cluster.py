"""A real Flink session cluster on loopback for tests: a JobManager and a TaskManager, each a small JVM of its own."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import time
from enum import Enum
from pathlib import Path

import httpx

from tests.flink.package import demo_jar, program

START_SECONDS = 120.0
STOP_SECONDS = 15.0
ATTEMPTS = 3
"""Free ports are looked for before the JVMs take them; somebody else may be faster."""
SLOTS = 8
LOG_LINES = 30

_OPENED = ("lang", "net", "io", "nio", "lang.reflect", "text", "time", "util", "util.concurrent")
_OPENS = [
    "--add-exports=java.rmi/sun.rmi.registry=ALL-UNNAMED",
    "--add-exports=java.security.jgss/sun.security.krb5=ALL-UNNAMED",
    *(f"--add-opens=java.base/java.{package}=ALL-UNNAMED" for package in _OPENED),
    "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
    "--add-opens=java.base/java.util.concurrent.atomic=ALL-UNNAMED",
    "--add-opens=java.base/java.util.concurrent.locks=ALL-UNNAMED",
]
"""What Flink's own scripts open of the JDK to it."""

_SMALL = ["-Xms64m", "-Xmx256m", "-XX:MaxMetaspaceSize=160m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]

# The sizes are what Flink's scripts would work out; with all of them set no script is needed.
_CONFIG = """\
jobmanager.rpc.address: 127.0.0.1
jobmanager.rpc.port: {rpc_port}
jobmanager.bind-host: 127.0.0.1
taskmanager.host: 127.0.0.1
taskmanager.bind-host: 127.0.0.1
taskmanager.numberOfTaskSlots: {slots}
taskmanager.cpu.cores: 1
taskmanager.memory.framework.heap.size: 64m
taskmanager.memory.framework.off-heap.size: 32m
taskmanager.memory.task.heap.size: 192m
taskmanager.memory.task.off-heap.size: 0m
taskmanager.memory.managed.size: 16m
taskmanager.memory.network.min: 32m
taskmanager.memory.network.max: 32m
taskmanager.memory.jvm-metaspace.size: 160m
taskmanager.memory.jvm-overhead.min: 64m
taskmanager.memory.jvm-overhead.max: 64m
rest.address: 127.0.0.1
rest.bind-address: 127.0.0.1
rest.port: {rest_port}
rest.bind-port: "{rest_port}"
parallelism.default: 1
metrics.fetcher.update-interval: 1000
web.refresh-interval: 500
heartbeat.interval: 1000
heartbeat.timeout: 5000
execution.checkpointing.savepoint-dir: file://{work}/savepoints
io.tmp.dirs: {work}/tmp
web.upload.dir: {work}/upload
"""

_LOG4J = """\
rootLogger.level = INFO
rootLogger.appenderRef.console.ref = Console
appender.console.name = Console
appender.console.type = CONSOLE
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{HH:mm:ss,SSS} %-5p %c{1} - %m%n
"""


class Role(Enum):
    """The two processes of a cluster, by the names of their logs."""

    JOB_MANAGER = "jobmanager"
    TASK_MANAGER = "taskmanager"


_MAIN = {
    Role.JOB_MANAGER: ["org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint"],
    Role.TASK_MANAGER: ["org.apache.flink.runtime.taskexecutor.TaskManagerRunner"],
}


class FlinkCluster:
    """A cluster in a directory. Its address stays the same over restarts; its jobs do not outlive its JobManager."""

    def __init__(self, home: Path, work: Path) -> None:
        self.work = work
        self.base_url = ""
        self._home = home
        self._java = program("java")
        self._jar = demo_jar(home, work)
        self._jar_id = ""
        self._processes: dict[Role, subprocess.Popen[bytes]] = {}
        for name in ("conf", "tmp", "savepoints", "upload"):
            (work / name).mkdir()

    def start(self) -> None:
        """Starts both processes, on free ports, and returns when the cluster has all its slots."""
        for attempt in range(1, ATTEMPTS + 1):
            self._configure(_free_port(), _free_port())
            try:
                self.start_job_manager()
                self.start_task_manager()
                self.wait_for_slots()
            except RuntimeError:
                self.stop()
                if attempt == ATTEMPTS or "Address already in use" not in self.log(Role.JOB_MANAGER):
                    raise
            else:
                return

    def stop(self) -> None:
        """Ends both processes."""
        for process in reversed(self._processes.values()):
            process.terminate()
        for process in self._processes.values():
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes.clear()

    def remove(self) -> None:
        """Ends the cluster and deletes its directory."""
        self.stop()
        shutil.rmtree(self.work)

    def start_job_manager(self) -> None:
        """Starts the JobManager and does not wait for it."""
        self._launch(Role.JOB_MANAGER)

    def start_task_manager(self) -> None:
        """Starts the TaskManager and does not wait for it."""
        self._launch(Role.TASK_MANAGER)

    def kill_job_manager(self) -> None:
        """Ends the JobManager by SIGKILL."""
        self._kill(Role.JOB_MANAGER)

    def kill_task_manager(self) -> None:
        """Ends the TaskManager by SIGKILL. The JobManager notices when its heartbeat is missing for five seconds."""
        self._kill(Role.TASK_MANAGER)

    def revive(self) -> None:
        """Starts what is not running, and returns when the cluster has all its slots.

        A TaskManager takes long to find a new JobManager, so it is started afresh with it.
        """
        if not self._alive(Role.JOB_MANAGER):
            if self._alive(Role.TASK_MANAGER):
                self.kill_task_manager()
            self.start_job_manager()
        if not self._alive(Role.TASK_MANAGER):
            self.start_task_manager()
        self.wait_for_slots()

    async def restart(self) -> None:
        """Ends both processes and starts them again: the cluster forgets its jobs."""
        await asyncio.to_thread(self.stop)
        await asyncio.to_thread(self.revive)

    def wait_for_slots(self) -> None:
        """Returns when a TaskManager has registered.

        Raises:
            RuntimeError: a process has ended, or two minutes are over; with the ends of the logs.
        """
        deadline = time.monotonic() + START_SECONDS
        with httpx.Client(trust_env=False, timeout=5) as http:
            while time.monotonic() < deadline:
                if any(process.poll() is not None for process in self._processes.values()):
                    break
                try:
                    overview = http.get(f"{self.base_url}/overview")
                    if overview.status_code == httpx.codes.OK and overview.json()["slots-total"] >= SLOTS:
                        return
                except httpx.TransportError:
                    pass  # not listening yet
                time.sleep(0.1)
        raise RuntimeError(f"Flink does not start:\n{self.logs()}")

    async def submit(self, name: str, *, jid: str = "", **arguments: object) -> str:
        """Runs the demo job and returns its id; arguments are those of `DemoJob`: `rate=20, failAt=50`."""
        words = ["--name", name]
        for key, value in arguments.items():
            words += [f"--{key}", str(value).lower()]
        body: dict[str, object] = {"programArgsList": words}
        if jid:
            body["jobId"] = jid
        async with httpx.AsyncClient(trust_env=False, timeout=60, base_url=self.base_url) as http:
            if not self._jar_id:
                files = {"jarfile": (self._jar.name, self._jar.read_bytes(), "application/x-java-archive")}
                uploaded = (await http.post("/jars/upload", files=files)).raise_for_status()
                self._jar_id = uploaded.json()["filename"].rpartition("/")[2]
            run = await http.post(f"/jars/{self._jar_id}/run", json=body)
            if run.is_error:
                raise RuntimeError(f"Flink does not run the job: {run.text[:2_000]}")
            return str(run.json()["jobid"])

    def log(self, role: Role) -> str:
        """Returns all that a process has logged."""
        path = self.work / f"{role.value}.log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def logs(self) -> str:
        """Returns the ends of both logs, without the frames of stack traces."""
        told = []
        for role in Role:
            lines = [line[:300] for line in self.log(role).splitlines() if not line.startswith("\tat ")]
            told.append(f"{role.value}:\n" + "\n".join(lines[-LOG_LINES:]))
        return "\n".join(told)

    def _configure(self, rest_port: int, rpc_port: int) -> None:
        self.base_url = f"http://127.0.0.1:{rest_port}"
        config = _CONFIG.format(work=self.work, rest_port=rest_port, rpc_port=rpc_port, slots=SLOTS)
        (self.work / "conf/config.yaml").write_text(config, encoding="utf-8")
        (self.work / "conf/log4j.properties").write_text(_LOG4J, encoding="utf-8")

    def _launch(self, role: Role) -> None:
        conf = self.work / "conf"
        environment = os.environ | {
            "FLINK_CONF_DIR": str(conf),
            "FLINK_PLUGINS_DIR": str(self._home / "plugins"),
            "FLINK_LIB_DIR": str(self._home / "lib"),
        }
        command = [self._java, *_SMALL, "-XX:MaxDirectMemorySize=64m", *_OPENS]
        command += [f"-Dlog4j.configurationFile={conf}/log4j.properties", "-cp", f"{self._home}/lib/*"]
        command += [*_MAIN[role], "--configDir", str(conf)]
        with (self.work / f"{role.value}.log").open("ab") as log:
            self._processes[role] = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the tests, which then end the cluster
            )

    def _alive(self, role: Role) -> bool:
        return role in self._processes and self._processes[role].poll() is None

    def _kill(self, role: Role) -> None:
        process = self._processes.pop(role)
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])

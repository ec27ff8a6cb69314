"""Several server processes on one port: started, restarted and stopped by a parent that serves nothing itself.

The parent imports nothing of gRPC, whose state does not survive a fork, and starts each worker as a fresh process. The
workers share the port by SO_REUSEPORT: the kernel spreads connections over them.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack

import structlog

from streamgauge_server.settings import Settings, split_address

EXIT_CANNOT_START = 3
"""Exit status of a worker that will not start at the next attempt either."""
STABLE_SECONDS = 30.0
"""A worker that ran this long is restarted at once when it dies."""
MAX_BACKOFF_SECONDS = 30.0
_KILL_AFTER_SECONDS = 10.0

_log = structlog.stdlib.get_logger("streamgauge.supervisor")


class PortTaken(Exception):
    """Another program listens on the port."""


def reserve_port(listen: str) -> tuple[str, socket.socket]:
    """Returns the address with its port settled, and a bound socket that keeps the port while it is open.

    The socket does not listen, so it gets no connections.

    Raises:
        PortTaken: another program listens there, or the address is none of this machine's.
    """
    host, port = split_address(listen)
    bare = host.strip("[]")
    try:
        family, _, _, _, address = socket.getaddrinfo(bare, int(port), type=socket.SOCK_STREAM)[0]
        # A first socket without SO_REUSEPORT finds out whether somebody else is there: with it, binding would succeed.
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            address = probe.getsockname()
        reserved = socket.socket(family, socket.SOCK_STREAM)
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.bind(address)
    except OSError as error:
        raise PortTaken(f"cannot listen on {listen}: {error.strerror}") from error
    return f"{host}:{address[1]}", reserved


class Supervisor:
    """Runs the workers until it is told to stop."""

    def __init__(self, settings: Settings, *, backoff: float = 0.5, monotonic: Callable[[], float] = time.monotonic):
        """`backoff` is the first pause before a restart, in seconds; it doubles with every early death."""
        self._settings = settings
        self._backoff = backoff
        self._monotonic = monotonic
        self._stopping = asyncio.Event()
        self._processes: dict[int, asyncio.subprocess.Process] = {}
        self._exit_status = 0

    async def run(self) -> int:
        """Starts the workers, keeps them running until SIGTERM or SIGINT, and returns the exit status.

        Raises:
            PortTaken: another program listens on the port.
        """
        settings = self._settings.model_copy(update={"migrate": "never"})
        with ExitStack() as reserved:
            address, kept = reserve_port(settings.listen)
            reserved.enter_context(kept)
            settings = settings.model_copy(update={"listen": address})
            http = settings.http
            if http.port is not None:
                bare = f"[{http.host}]" if ":" in http.host else http.host
                http_address, kept = reserve_port(f"{bare}:{http.port}")
                reserved.enter_context(kept)
                http = http.model_copy(update={"port": int(split_address(http_address)[1])})
                settings = settings.model_copy(update={"http": http})
            loop = asyncio.get_running_loop()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, self.stop)
            _log.info("supervising", address=address, http_port=http.port, workers=settings.workers)
            document = settings.model_dump_json().encode() + b"\n"
            try:
                async with asyncio.TaskGroup() as group:
                    for index in range(self._settings.workers):
                        group.create_task(self._keep(index, document))
            finally:
                for process in self._processes.values():
                    if process.returncode is None:
                        process.kill()
        return self._exit_status

    def stop(self) -> None:
        """Tells the workers to stop; `run` returns when they have."""
        self._stopping.set()
        for process in self._processes.values():
            if process.returncode is None:
                process.terminate()

    async def _keep(self, index: int, document: bytes) -> None:
        pause = self._backoff
        while not self._stopping.is_set():
            started = self._monotonic()
            status = await self._run_worker(index, document)
            if self._stopping.is_set():
                # A worker that was still importing when it was told has no handler yet and dies of the signal.
                if status not in (0, -signal.SIGTERM):
                    self._exit_status = self._exit_status or 1
                return
            if status == EXIT_CANNOT_START:
                # It has said why. The others would not fare better at their next start.
                self._exit_status = EXIT_CANNOT_START
                self.stop()
                return
            if self._monotonic() - started >= STABLE_SECONDS:
                pause = self._backoff
            _log.error("worker ended, starting another", worker_index=index, status=status, pause=pause)
            await self._pause(pause)
            pause = min(pause * 2, MAX_BACKOFF_SECONDS)

    async def _run_worker(self, index: int, document: bytes) -> int:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "streamgauge_server", "worker", str(index), stdin=asyncio.subprocess.PIPE
        )
        self._processes[index] = process
        if self._stopping.is_set():
            process.terminate()
        if process.stdin is None:
            raise RuntimeError("the worker has no standard input")
        # The pipe stays open: a worker whose supervisor is gone sees it end, and stops.
        process.stdin.write(document)
        try:
            return await self._end_of(process)
        finally:
            process.stdin.close()

    async def _end_of(self, process: asyncio.subprocess.Process) -> int:
        ended = asyncio.create_task(process.wait())
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait((ended, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not ended.done():
            seconds = self._settings.stop_delay_seconds + self._settings.stop_grace_seconds + _KILL_AFTER_SECONDS
            done, _ = await asyncio.wait((ended,), timeout=seconds)
            if not done:
                _log.error("worker does not stop, killing it", pid=process.pid)
                process.kill()
        return await ended

    async def _pause(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return


def worker_settings() -> Settings:
    """Reads the settings that the supervisor has written to the standard input of this process."""
    return Settings.model_validate_json(_first_line())


def _first_line() -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            raise EOFError("the supervisor is gone")
        line += byte
    return line


async def supervisor_gone() -> None:
    """Returns when the supervisor of this worker has ended: the standard input then ends."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read()

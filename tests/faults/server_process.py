"""A server as a process of its own, which can be killed."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import grpc.aio

from tests.rpc.serving import UNLIMITED, Stubs

START_SECONDS = 60.0


class ServerProcess:
    """`streamgauge-server serve` on a store. `await start()`; `stubs` are over a fresh channel after every start."""

    stubs: Stubs

    def __init__(self, url: str, log: Path, *settings: str) -> None:
        self._arguments = ["serve", "--listen", "127.0.0.1:0", "--database", url, "--migrate", "--log-format", "json"]
        for setting in settings:
            self._arguments += ["--set", setting]
        self._log = log
        self._process: asyncio.subprocess.Process | None = None
        self._channel: grpc.aio.Channel | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Starts the process and returns when it serves."""
        read_from = self._log.stat().st_size if self._log.exists() else 0
        with self._log.open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "streamgauge_server", *self._arguments, stdout=output, stderr=output
            )
        address = await self._address(read_from)
        self._channel = grpc.aio.insecure_channel(address, options=UNLIMITED)
        self.stubs = Stubs(self._channel)

    async def kill(self) -> None:
        """Ends the process by SIGKILL, and waits until it is gone."""
        assert self._process is not None
        self._process.kill()
        await self._process.wait()
        await self.disconnect()

    async def stop(self) -> None:
        """Ends the process, if it runs, as an operator would."""
        await self.disconnect()
        if self.alive:
            assert self._process is not None
            self._process.terminate()
            try:
                await asyncio.wait_for(self._process.wait(), 30)
            except TimeoutError:
                self._process.kill()
                raise

    async def disconnect(self) -> None:
        if self._channel is not None:
            await self._channel.close()
            self._channel = None

    async def _address(self, read_from: int) -> str:
        """Returns the address out of the log line that says that the server serves."""
        async with asyncio.timeout(START_SECONDS):
            while True:
                log = self._log.read_bytes()[read_from:]
                for line in log.splitlines(keepends=True):
                    if line.endswith(b"\n") and line.startswith(b"{"):
                        entry = json.loads(line)
                        if entry.get("event") == "serving":
                            return str(entry["address"])
                if not self.alive:
                    raise RuntimeError(f"the server did not start: {log.decode()}")
                await asyncio.sleep(0.02)

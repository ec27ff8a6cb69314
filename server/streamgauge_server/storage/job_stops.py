"""Requests to stop runs: stored before the cluster is asked, so that asking again is the same request."""

from __future__ import annotations

from sqlalchemy import Connection, insert, select, update

from streamgauge_server.model.clock import Clock
from streamgauge_server.model.jobs import Stop, StopMode
from streamgauge_server.storage import tables
from streamgauge_server.storage.database import Database
from streamgauge_server.storage.records import SubjectGone

_t = tables.job_stops.c


class JobStops:
    """Stores requests to stop. Runs are named by their numbers."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def begin(
        self,
        run: int,
        trigger_id: str,
        mode: StopMode,
        *,
        drain: bool = False,
        directory: str = "",
        requested_by: str = "",
    ) -> Stop:
        """Stores a request and returns it; if one of the same mode is still open, that one.

        Raises:
            SubjectGone: the run does not exist.
            DomainError: STORE_UNAVAILABLE.
        """
        now = self._clock.now()
        new = Stop(run, trigger_id, mode, drain, directory, requested_by, now)

        def work(connection: Connection) -> Stop:
            job = _lock_job(connection, run)
            open_one = select(tables.job_stops).where(
                _t.subject_id == job, _t.run == run, _t.mode == int(mode), _t.finish_time.is_(None)
            )
            if (row := connection.execute(open_one.order_by(_t.request_time)).first()) is not None:
                return _stop(row)
            connection.execute(
                insert(tables.job_stops).values(
                    subject_id=job,
                    run=run,
                    trigger_id=trigger_id,
                    mode=int(mode),
                    drain=drain,
                    directory=directory,
                    requested_by=requested_by,
                    request_time=now,
                    finish_time=None,
                    location="",
                    failure="",
                )
            )
            return new

        return await self._database.write(work)

    async def finish(self, run: int, trigger_id: str, *, location: str = "", failure: str = "") -> None:
        """Stores what became of a request. What is finished already, or is gone, stays as it is.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        finished = (
            update(tables.job_stops)
            .where(_t.run == run, _t.trigger_id == trigger_id, _t.finish_time.is_(None))
            .values(finish_time=self._clock.now(), location=location, failure=failure)
        )

        def work(connection: Connection) -> None:
            connection.execute(finished)

        await self._database.write(work)

    async def of_run(self, run: int, *, limit: int = 100) -> list[Stop]:
        """Returns the requests to stop a run, the newest first.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        query = select(tables.job_stops).where(_t.run == run)
        query = query.order_by(_t.request_time.desc(), _t.trigger_id).limit(limit)
        return await self._database.read(lambda connection: [_stop(row) for row in connection.execute(query)])


def _lock_job(connection: Connection, run: int) -> int:
    """Returns the number of a run's job after locking its `latest` row, as every writer of a subject does first."""
    runs, latest = tables.job_runs.c, tables.latest.c
    of_run = select(runs.subject_id).where(runs.id == run)
    job = connection.scalar(of_run)
    if job is None:
        raise SubjectGone(())
    connection.execute(select(latest.subject_id).where(latest.subject_id == job).with_for_update())
    if connection.scalar(of_run) is None:  # it may have been deleted while this waited for the lock
        raise SubjectGone({job})
    return int(job)


def _stop(row: tables.AnyRow) -> Stop:
    return Stop(
        run=row.run,
        trigger_id=row.trigger_id,
        mode=StopMode(row.mode),
        drain=row.drain,
        directory=row.directory,
        requested_by=row.requested_by,
        request_time=row.request_time,
        finish_time=row.finish_time,
        location=row.location,
        failure=row.failure,
    )

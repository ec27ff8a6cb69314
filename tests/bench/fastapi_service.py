"""What REST is compared with: the newest values of a source from FastAPI and SQLAlchemy, as such a service is written.

Pydantic models, declarative tables with a row per sample, an async session for each request, uvicorn. Its answer has
the members of the gateway's. What it does not compute are the totals of counters across restarts and the metric that is
derived from another one: `value` is what was last read.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated, Any

import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Request
from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel
from sqlalchemy import ForeignKey, Index, String, event, func, select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """The tables."""


class Source(Base):
    """A source."""

    __tablename__ = "sources"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(140), unique=True)
    create_time: Mapped[datetime] = mapped_column(default=lambda: datetime.now(UTC))


class Metric(Base):
    """A metric with its texts. A built-in one is part of every answer."""

    __tablename__ = "metrics"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(255), unique=True)
    display_name: Mapped[str] = mapped_column(String(255))
    unit: Mapped[str] = mapped_column(String(64))
    kind: Mapped[str] = mapped_column(String(32))
    value_type: Mapped[str] = mapped_column(String(32))
    built_in: Mapped[bool]


class Sample(Base):
    """One value."""

    __tablename__ = "samples"
    __table_args__ = (Index("samples_by_source_metric_time", "source_id", "metric_id", "time"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    source_id: Mapped[int] = mapped_column(ForeignKey("sources.id"))
    metric_id: Mapped[int] = mapped_column(ForeignKey("metrics.id"))
    time: Mapped[datetime]
    start_time: Mapped[datetime]
    value: Mapped[float]


class Model(BaseModel):
    """What is sent: names in lower camel case."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class Value(Model):
    """A value by its type; an int64 is a string, as in proto3 JSON."""

    int64_value: str | None = None
    double_value: float | None = None

    @classmethod
    def of(cls, sample: Sample, metric: Metric) -> Value:
        """Returns the value of a sample as the metric's type."""
        if metric.value_type == "VALUE_TYPE_INT64":
            return cls(int64_value=str(int(sample.value)))
        return cls(double_value=sample.value)


class LatestValue(Model):
    """The newest value of a metric, if it has one."""

    metric: str
    value: Value | None = None
    raw_value: Value | None = None
    time: datetime | None = None
    start_time: datetime | None = None


class Metadata(Model):
    """What a metric is."""

    display_name: str
    unit: str
    kind: str
    value_type: str


class SourceMetrics(Model):
    """The answer."""

    source: str
    time_type: str = "TIME_TYPE_LATEST"
    latest: list[LatestValue]
    metadata: dict[str, Metadata]


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Makes the tables and the sessions."""
    engine = create_async_engine(app.state.url)
    _as_our_store(engine)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    app.state.sessions = async_sessionmaker(engine, expire_on_commit=False)
    yield
    await engine.dispose()


def _as_our_store(engine: AsyncEngine) -> None:
    """Lets SQLite use a write-ahead log, as the server's store does."""

    @event.listens_for(engine.sync_engine, "connect")
    def connect(connection: Any, record: Any) -> None:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA foreign_keys = ON")


async def session(request: Request) -> AsyncIterator[AsyncSession]:
    """Yields a session for one request."""
    async with request.app.state.sessions() as opened:
        yield opened


app = FastAPI(lifespan=lifespan)


@app.get("/v1/sources/{source_id}/metrics", response_model_exclude_none=True)
async def latest_metrics(source_id: str, session: Annotated[AsyncSession, Depends(session)]) -> SourceMetrics:
    """Returns the newest value of every metric of a source."""
    source = await session.scalar(select(Source).where(Source.name == f"sources/{source_id}"))
    if source is None:
        raise HTTPException(404, f"there is no source {source_id}")
    newest = (
        select(Sample.metric_id, func.max(Sample.time).label("time"))
        .where(Sample.source_id == source.id)
        .group_by(Sample.metric_id)
        .subquery()
    )
    rows = await session.execute(
        select(Metric, Sample)
        .outerjoin(newest, newest.c.metric_id == Metric.id)
        .outerjoin(
            Sample,
            (Sample.source_id == source.id) & (Sample.metric_id == newest.c.metric_id) & (Sample.time == newest.c.time),
        )
        .where(Metric.built_in | Sample.id.is_not(None))
        .order_by(Metric.id)
    )
    latest, metadata = [], {}
    for metric, sample in rows:
        if sample is None:
            latest.append(LatestValue(metric=metric.name))
        else:
            value = Value.of(sample, metric)
            moments = {"time": sample.time.replace(tzinfo=UTC), "start_time": sample.start_time.replace(tzinfo=UTC)}
            latest.append(LatestValue(metric=metric.name, value=value, raw_value=value, **moments))
        metadata[metric.name] = Metadata(
            display_name=metric.display_name, unit=metric.unit, kind=metric.kind, value_type=metric.value_type
        )
    return SourceMetrics(source=source.name, latest=latest, metadata=metadata)


def main() -> None:
    """Serves on a port of loopback until the process is ended."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.fastapi_service", description=__doc__)
    parser.add_argument("path", help="SQLite file")
    parser.add_argument("port", type=int)
    arguments = parser.parse_args()
    app.state.url = f"sqlite+aiosqlite:///{arguments.path}"
    # Both sides are served by uvicorn on asyncio's own loop; its access log would cost this one alone.
    config = uvicorn.Config(app, port=arguments.port, loop="asyncio", http="httptools", access_log=False)
    asyncio.run(uvicorn.Server(config).serve())


if __name__ == "__main__":
    main()

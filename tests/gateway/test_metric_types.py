"""The metric types API over HTTP: its catalogue, its plots and its pages, as the original's clients ask for them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from streamgauge.v1 import source_service_pb2 as sources

from tests.gateway.scale_history import History, tell_history
from tests.gateway.serving import NOON, Gateway, running
from tests.rpc.figure_messages import ingest
from tests.rpc.messages import HOUR, MINUTE
from tests.rpc.test_metric_type_catalog import COLUMNS, FILTERS, GROUPS

Json = Any
COLUMN_KEYS = ["name", "title", "description", "units", "group", "aggregate"]


@pytest.fixture(scope="module")
def history() -> Iterator[History]:
    with running() as gateway:
        yield tell_history(gateway)


def get(history: History, path: str) -> Json:
    """Returns the body of an answer under `/v6/metrics/`."""
    answer = history.gateway.http.get(f"/v6/metrics/{path}")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    return answer.json()


def plot(history: History, path: str) -> dict[str, Json]:
    """Returns the series of a plot by column, in the order of the answer."""
    name, _, query = path.partition("?")
    body = get(history, f"{name}/plot-data/?{query}")
    assert list(body) == ["count", "next", "previous", "results"]
    for series in body["results"]:
        assert list(series) == ["column", "min_x", "max_x", "min_y", "max_y", "values"]
        assert list(series["column"]) == COLUMN_KEYS
    return {series["column"]["name"]: series for series in body["results"]}


def points(series: Json) -> list[tuple[Any, ...]]:
    """Returns moments and values, and choices where they are told, without the date's year."""
    return [
        (value["datetime"].removeprefix("2015-").removesuffix(":00:00Z"), *list(value.values())[1:])
        for value in series["values"]
    ]


@pytest.mark.parametrize("version", ["v6", "v7"])
def test_the_list_has_the_built_in_types_exactly_then_custom_ones(history: History, version: str) -> None:
    body = history.gateway.http.get(f"/{version}/metrics/").json()
    assert list(body) == ["count", "next", "previous", "results"]
    assert (body["count"], body["next"], body["previous"]) == (4, None, None)
    names = [one["name"] for one in body["results"]]
    assert names == ["job-types", "ingests", "errors", "power"]
    for one in body["results"]:
        assert list(one) == ["name", "title", "description", "filters", "groups", "columns"]
        assert all(list(each) == ["param", "type"] for each in one["filters"])
        assert all(list(each) == ["name", "title", "description"] for each in one["groups"])
        assert all(list(each) == COLUMN_KEYS for each in one["columns"])
    for one in body["results"][:3]:
        told = [(each["name"], each["units"], each["group"], each["aggregate"]) for each in one["columns"]]
        assert told == COLUMNS[one["name"]]
        assert [each["name"] for each in one["groups"]] == GROUPS[one["name"]]
        assert one["filters"] == [{"param": param, "type": "string"} for param in FILTERS[one["name"]]]
    assert [one["title"] for one in body["results"]] == ["Job Types", "Ingests", "Errors", "Power"]


def test_details_are_those_of_the_list_with_all_choices(history: History) -> None:
    listed = {one["name"]: one for one in get(history, "")["results"]}
    for name, one in listed.items():
        told = get(history, f"{name}/")
        choices = told.pop("choices")
        assert told == one
        assert choices
    choices = get(history, "job-types/")["choices"]
    assert [(one["id"], one["name"], one["version"], one["title"]) for one in choices] == [
        (history.job_types["copy"], "copy", "1.0", "Copy"),
        (history.job_types["sort"], "sort", "1.0", "Sort"),
    ]
    assert get(history, "ingests/")["choices"] == [
        {"id": history.sources[name], "name": name, "title": name, "description": "", "job": None}
        for name in ("north", "south")
    ]
    assert get(history, "power/")["choices"] == [
        {"id": history.halls[name], "name": name, "title": name.title(), "phase": 3, "site": site}
        for name, site in (("hall", "north"), ("yard", "south"))
    ]
    errors = get(history, "errors/")["choices"]
    assert len(errors) == 27
    assert {one["is_builtin"] for one in errors} == {True}
    assert {one["category"] for one in errors} == {"SYSTEM", "ALGORITHM"}


def test_details_have_more_choices_than_one_answer_of_the_server() -> None:
    with running() as gateway:
        files = [ingest(str(place), source=f"source-{place:04}", at=NOON) for place in range(1_001)]
        gateway.sources.ReportIngests(sources.ReportIngestsRequest(ingests=files))
        choices = gateway.http.get("/v6/metrics/ingests/").json()["choices"]
        assert sorted(one["name"] for one in choices) == [f"source-{place:04}" for place in range(1_001)]
        ids = [one["id"] for one in choices]
        assert ids == sorted(set(ids))


def test_executions_are_in_the_hour_of_their_own_end_and_in_no_other(history: History) -> None:
    found = plot(history, "job-types?group=run_time&column=total_count&ended=2015-01-01T23:00:00Z")
    assert points(found["run_time_sum"]) == [("01-01T10", 1790), ("01-01T12", 1788)]
    assert points(found["total_count"]) == [("01-01T10", 1), ("01-01T11", 1), ("01-01T12", 1)]
    day = plot(history, "job-types?group=run_time&bin=day&ended=2015-01-01T00:00:00Z")
    assert {name: points(series) for name, series in day.items()} == {
        "run_time_sum": [("01-01T00", 3578)],
        "run_time_min": [("01-01T00", 1788)],
        "run_time_max": [("01-01T00", 1790)],
        "run_time_avg": [("01-01T00", 1789)],
    }


def test_lengths_are_cut_toward_zero_after_they_were_added(history: History) -> None:
    found = plot(
        history, "job-types?group=queue_time&column=run_time_sum&started=2015-01-02T00:00Z&ended=2015-01-02T00:30Z"
    )
    assert {name: points(series) for name, series in found.items()} == {
        "run_time_sum": [("01-02T00", 6)],
        "queue_time_sum": [("01-02T00", 3)],
        "queue_time_min": [("01-02T00", 1)],
        "queue_time_max": [("01-02T00", 1)],
        "queue_time_avg": [("01-02T00", 1)],
    }


def test_errors_are_counted_by_category_and_by_error(history: History) -> None:
    found = plot(history, "job-types?group=errors&bin=month")
    assert {name: points(series) for name, series in found.items()} == {
        "error_system_count": [("01-01T00", 1)],
        "error_data_count": [("01-01T00", 0)],
        "error_algorithm_count": [("01-01T00", 0)],
    }
    (lost,) = [one["id"] for one in get(history, "errors/")["choices"] if one["name"] == "node-lost"]
    assert points(plot(history, f"errors?choice_id={lost}")["total_count"]) == [("01-01T11", 1, lost)]


def test_sizes_are_put_together_by_the_aggregate_of_their_column(history: History) -> None:
    found = plot(history, "ingests?group=file_size&ended=2015-01-31T00:00:00Z")
    assert {name: points(series) for name, series in found.items()} == {
        "file_size_sum": [
            *(("01-01T10", 601), ("01-03T05", 1320), ("01-04T00", 660), ("01-04T01", 21)),
            *(("01-05T00", 7), ("01-05T01", 7), ("01-06T00", 80)),
        ],
        "file_size_min": [
            *(("01-01T10", 100), ("01-03T05", 220), ("01-04T00", 110), ("01-04T01", 10)),
            *(("01-05T00", 0), ("01-05T01", 0), ("01-06T00", 10)),
        ],
        "file_size_max": [
            *(("01-01T10", 200), ("01-03T05", 1100), ("01-04T00", 550), ("01-04T01", 11)),
            *(("01-05T00", 7), ("01-05T01", 7), ("01-06T00", 50)),
        ],
        # By what was measured: three files of 10 bytes and one of 50 have 20 on average, not 30.
        "file_size_avg": [
            *(("01-01T10", 120), ("01-03T05", 660), ("01-04T00", 330), ("01-04T01", 10)),
            *(("01-05T00", 3), ("01-05T01", 3), ("01-06T00", 20)),
        ],
    }


def test_bounds_are_those_of_the_values(history: History) -> None:
    series = plot(history, "ingests?column=file_size_sum&started=2015-01-03T00:00:00Z&ended=2015-01-05T01:00:00Z")
    told = {name: value for name, value in series["file_size_sum"].items() if name.startswith("m")}
    assert told == {
        "min_x": "2015-01-03T05:00:00Z",
        "max_x": "2015-01-05T01:00:00Z",
        "min_y": 7,
        "max_y": 1320,
    }
    zero = plot(history, "ingests?column=file_size_min&started=2015-01-05T00:00:00Z&ended=2015-01-05T01:00:00Z")
    assert (zero["file_size_min"]["min_y"], zero["file_size_min"]["max_y"]) == (0, 0)
    none = plot(history, "ingests?column=file_size_min&ended=2014-12-31T00:00:00Z")["file_size_min"]
    assert {name: value for name, value in none.items() if name != "column"} == {
        **dict.fromkeys(("min_x", "max_x", "min_y", "max_y")),
        "values": [],
    }


def test_with_choices_each_value_tells_its_own_also_with_one(history: History) -> None:
    north, south = history.sources["north"], history.sources["south"]
    span = "started=2015-01-03T00:00:00Z&ended=2015-01-04T00:00:00Z"
    both = f"choice_id={south}&choice_id={north}&choice_id={south}"
    assert points(plot(history, f"ingests?column=file_size_sum&{both}&{span}")["file_size_sum"]) == [
        ("01-03T05", 220, north),
        ("01-03T05", 1100, south),
        ("01-04T00", 110, north),
        ("01-04T00", 550, south),
    ]
    one = plot(history, f"ingests?column=file_size_sum&choice_id={north}&{span}")["file_size_sum"]
    assert list(one["values"][0]) == ["datetime", "value", "id"]
    assert points(one) == [("01-03T05", 220, north), ("01-04T00", 110, north)]
    together = plot(history, f"ingests?column=file_size_sum&{span}")["file_size_sum"]
    assert list(together["values"][0]) == ["datetime", "value"]


@pytest.mark.parametrize("choice", ["0", "-5", "999999", "9223372036854775807", "-9223372036854775807", "+0", "%2007"])
def test_choices_that_there_are_not_have_no_values(history: History, choice: str) -> None:
    assert plot(history, f"ingests?column=total_count&choice_id={choice}")["total_count"]["values"] == []


def test_bins_are_days_weeks_and_months_of_the_calendar_with_right_averages(history: History) -> None:
    def values(bin: str, column: str = "file_size_avg") -> list[tuple[Any, ...]]:
        return points(plot(history, f"ingests?column={column}&bin={bin}")[column])

    assert values("day")[:4] == [("01-01T00", 120), ("01-03T00", 660), ("01-04T00", 170), ("01-05T00", 3)]
    # Monday the 29th of December to the 4th of January: 601 + 1320 + 660 + 21 bytes in eleven files.
    week = plot(history, "ingests?column=file_size_avg&bin=week")["file_size_avg"]["values"]
    assert week[0] == {"datetime": "2014-12-29T00:00:00Z", "value": 2602 // 11}
    assert values("month", "total_count") == [("01-01T00", 19), ("02-01T00", 2)]
    assert values("hour", "total_count") == values("", "total_count") == values("null", "total_count")
    assert plot(history, "ingests?bin=day&bin=month&column=total_count")["total_count"]["values"][0]["value"] == 19


def test_both_ends_are_inclusive_on_the_beginning_of_the_bin(history: History) -> None:
    def days(query: str) -> list[Any]:
        return points(plot(history, f"ingests?column=total_count&{query}")["total_count"])

    assert days("started=2015-01-01T10:00:00Z&ended=2015-01-01T10:30:00Z") == [("01-01T10", 5)]
    assert days("started=2015-01-01T10:00:01Z&ended=2015-01-01T23:00:00Z") == []
    assert days("started=2015-01-01T00:00:00Z&ended=2015-01-01T10:00:00Z") == [("01-01T10", 5)]
    assert days("started=2015-01-01T00:00:00Z&ended=2015-01-01T09:59:59.999999Z") == []
    # A day is told as a whole when it begins within the range, also at its very end.
    assert days("bin=day&started=2015-02-10T00:00:00Z&ended=2015-02-11T00:00:00Z") == [("02-10T00", 2)]
    assert days("bin=day&started=2015-02-09T00:00:00Z&ended=2015-02-10T00:00:00Z") == [("02-10T00", 2)]
    assert days("bin=day&started=2015-02-10T00:00:01Z&ended=2015-02-11T00:00:00Z") == []
    assert days("bin=day&started=2015-02-10T05:00:00Z&ended=2015-02-10T06:00:00Z") == []
    assert days("bin=month&started=2015-01-31T00:00:00Z&ended=2015-02-01T00:00:00Z") == [("02-01T00", 2)]


def test_what_ends_now_is_in_the_next_answer_and_ranges_count_back_from_now() -> None:
    with running() as gateway:
        url = "/v6/metrics/ingests/plot-data/?column=total_count"

        def told(query: str = "") -> list[Any]:
            values = gateway.http.get(url + query).json()["results"][0]["values"]
            return [(value["datetime"][8:13], value["value"]) for value in values]

        report = sources.ReportIngestsRequest(ingests=[ingest("a", at=NOON), ingest("b", at=NOON - 3 * HOUR + MINUTE)])
        gateway.sources.ReportIngests(report)
        assert told() == [("01T09", 1), ("01T12", 1)]
        assert told("&started=PT0S") == told("&started=PT1H") == [("01T12", 1)]
        assert told("&started=PT3H") == told("&started=P1D") == told("&started=P1W") == told("&started=P1M") == told()
        assert told("&started=PT3H&ended=PT1H") == told("&ended=PT1H") == [("01T09", 1)]
        assert told("&started=P1D&ended=P1D") == []
        assert told("&started=P1D&bin=day") == [("01T00", 2)]
        gateway.clock.micros += HOUR
        gateway.sources.ReportIngests(sources.ReportIngestsRequest(ingests=[ingest("c", at=NOON + HOUR)]))
        assert told("&started=PT1H") == [("01T12", 1), ("01T13", 1)]


@pytest.mark.parametrize(
    ("query", "columns"),
    [
        ("", [name for name, *_ in COLUMNS["job-types"]]),
        ("group=nope", [name for name, *_ in COLUMNS["job-types"]]),
        ("group=", [name for name, *_ in COLUMNS["job-types"]]),
        ("group=null", [name for name, *_ in COLUMNS["job-types"]]),
        ("&&group=nope&&", [name for name, *_ in COLUMNS["job-types"]]),
        ("group=nope&column=total_count", ["total_count"]),
        ("column=failed_count&column=completed_count", ["failed_count", "completed_count"]),
        (
            "column=completed_count&column=failed_count&group=overview",
            ["completed_count", "failed_count", "canceled_count", "total_count"],
        ),
        (
            "column=error_system_count&column=error_algorithm_count&column=error_data_count&column=total_count",
            ["error_system_count", "error_algorithm_count", "error_data_count", "total_count"],
        ),
        ("group=errors", ["error_system_count", "error_data_count", "error_algorithm_count"]),
        (
            "group=errors&column=total_count",
            ["total_count", "error_system_count", "error_data_count", "error_algorithm_count"],
        ),
        (
            "group=queue_time&group=errors",
            [
                *("error_system_count", "error_data_count", "error_algorithm_count"),
                *("queue_time_sum", "queue_time_min", "queue_time_max", "queue_time_avg"),
            ],
        ),
        ("column=total_count&column=total_count", ["total_count"]),
        ("column=run_time_p95&column=failed_rate&group=run_time_p95", ["run_time_p95", "failed_rate"]),
        ("column=total_count&unknown=x&dataType=job-types&format=json", ["total_count"]),
    ],
)
def test_columns_and_groups_are_united(history: History, query: str, columns: list[str]) -> None:
    assert list(plot(history, f"job-types?{query}")) == columns


def test_what_the_pages_of_the_original_ask_for(history: History) -> None:
    copy, sort = history.job_types["copy"], history.job_types["sort"]
    span = "started=2015-01-01T00:00:00.000Z&ended=2015-01-02T00:00:00.000Z"
    chart = plot(
        history,
        f"job-types?page=1&page_size=null&{span}&&column=completed_count&column=failed_count&group=overview"
        "&group=overview&dataType=job-types",
    )
    assert points(chart["completed_count"]) == [("01-01T10", 1), ("01-01T11", 0), ("01-01T12", 1), ("01-02T00", 1)]
    rates = plot(
        history,
        f"job-types?page=1&page_size=null&{span}&choice_id={copy}&choice_id={sort}&column=error_system_count"
        "&column=error_algorithm_count&column=error_data_count&column=total_count&group=null&dataType=job-types",
    )
    assert list(rates) == ["error_system_count", "error_algorithm_count", "error_data_count", "total_count"]
    assert points(rates["total_count"]) == [
        ("01-01T10", 1, copy),
        ("01-01T11", 1, copy),
        ("01-01T12", 1, copy),
        ("01-02T00", 1, sort),
    ]
    assert points(rates["error_system_count"])[1] == ("01-01T11", 1, copy)


def test_custom_types_plot_as_the_built_in_ones(history: History) -> None:
    hall, yard = history.halls["hall"], history.halls["yard"]
    together = plot(history, "power?ended=2015-01-31T00:00:00Z&bin=day")
    assert {name: points(series) for name, series in together.items()} == {
        "kwh": [("01-01T00", 12), ("01-02T00", 2)],
        "kwh_min": [("01-01T00", 0), ("01-02T00", -2)],
        "price": [("01-01T00", 0.5), ("01-02T00", 3.0)],
    }
    assert together["kwh"]["column"] == {
        "name": "kwh",
        "title": "kwh",
        "description": None,
        "units": None,
        "group": "use",
        "aggregate": "sum",
    }
    assert (together["kwh_min"]["min_y"], together["kwh_min"]["max_y"]) == (-2, 0)
    apart = plot(history, f"power?group=use&choice_id={hall}&choice_id={yard}")
    assert list(apart) == ["kwh", "kwh_min"]
    assert points(apart["kwh"]) == [("01-01T00", 5, hall), ("01-01T00", 7, yard), ("01-02T01", 2, hall)]


def test_types_and_columns_come_in_pages_with_links(history: History) -> None:
    base = f"{history.gateway.url}/v6/metrics/"
    first = get(history, "?page_size=3")
    assert (first["count"], first["next"], first["previous"]) == (4, f"{base}?page=2&page_size=3", None)
    second = history.gateway.http.get(first["next"]).json()
    assert (second["count"], second["next"], second["previous"]) == (4, None, f"{base}?page_size=3")
    assert [one["name"] for one in second["results"]] == ["power"]
    assert get(history, "?page_size=3&page=last") == second
    found: list[str] = []
    url: str | None = f"{base}job-types/plot-data/?page_size=4&group=errors&group=overview&bin=day"
    pages = 0
    while url is not None:
        page = history.gateway.http.get(url).json()
        assert page["count"] == 7
        found += [series["column"]["name"] for series in page["results"]]
        url, pages = page["next"], pages + 1
    assert (pages, page["previous"]) == (
        2,
        f"{base}job-types/plot-data/?bin=day&group=errors&group=overview&page_size=4",
    )
    assert found == [name for name, _, group, _ in COLUMNS["job-types"] if group in ("errors", "overview")]


@pytest.mark.parametrize("size", ["", "null", "0", "-3", "ten", "1.5"])
def test_a_page_size_that_is_none_is_the_default(history: History, size: str) -> None:
    assert len(get(history, f"job-types/plot-data/?page_size={size}")["results"]) == 31


def test_links_begin_with_the_prefix_and_the_host_that_was_asked() -> None:
    with running(http={"metric_types": {"prefix": "/scale/api"}}) as gateway:
        headers = {"Host": "gauge.example", "X-Forwarded-Host": "evil", "X-Forwarded-Proto": "ftp"}
        answer = gateway.http.get("/scale/api/v7/metrics/?page_size=2", headers=headers)
        assert answer.json()["next"] == "http://gauge.example/scale/api/v7/metrics/?page=2&page_size=2"
        assert gateway.http.get("/v6/metrics/").status_code == 404
    with running(http={"metric_types": {"enabled": False}}) as gateway:
        assert gateway.http.get("/v6/metrics/").status_code == 404


def test_without_its_slash_a_path_is_redirected_with_its_query(gateway: Gateway) -> None:
    for version in ("v6", "v7"):
        for path in ("metrics", "metrics/errors", "metrics/errors/plot-data"):
            answer = gateway.http.get(f"/{version}/{path}?page=1&&x=%26")
            assert answer.status_code == 301
            assert answer.headers["location"] == f"/{version}/{path}/?page=1&&x=%26"
            assert gateway.http.get(answer.headers["location"]).status_code == 200

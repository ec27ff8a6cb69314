"""What the answers about a source put back that Debezium forgets, and how topics are told apart."""

from __future__ import annotations

import pytest
from streamgauge_server.services.source_metrics import BUILT_IN, IN_TIMESERIES, topic_of


@pytest.mark.parametrize(
    ("part", "topic"),
    [
        ("topic=source_1.public.orders", "source_1.public.orders"),
        ("task=0,topic=source_1.public.orders", "source_1.public.orders"),
        ("topic=a,b", "a,b"),
        ("topic=", ""),
        ("task=0", "task=0"),
        ("subtopic=x", "subtopic=x"),
        ("", ""),
    ],
)
def test_the_topic_of_a_part(part: str, topic: str) -> None:
    assert topic_of(part) == topic


def test_the_catalog_has_22_metrics_and_12_of_them_make_time_series() -> None:
    assert (len(BUILT_IN), len(set(BUILT_IN))) == (22, 22)
    assert (len(IN_TIMESERIES), set(IN_TIMESERIES) <= set(BUILT_IN)) == (12, True)

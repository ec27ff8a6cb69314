"""The small picture of a time series."""

from __future__ import annotations

from streamgauge.cli.sparkline import ASCII, sparkline


def test_the_lowest_and_the_highest_block_are_zero_and_the_largest_value() -> None:
    assert sparkline([0, 7, 14]) == "▁▅█"


def test_a_gap_is_not_a_zero() -> None:
    assert sparkline([0, None, 5]) == "▁ █"


def test_negative_values_lower_the_floor() -> None:
    assert sparkline([-10, 0, 10])[0] == "▁"
    assert sparkline([-10, 0, 10])[1] not in "▁█"


def test_a_ripple_on_a_high_level_stays_small() -> None:
    assert sparkline([1000, 1001, 1000]) == "███"


def test_long_series_are_grouped_and_keep_their_peaks() -> None:
    values: list[float | None] = [0] * 1000
    values[503] = 9
    line = sparkline(values, width=10)
    assert len(line) == 10
    assert line.count("█") == 1


def test_a_group_without_values_is_a_gap() -> None:
    assert sparkline([1.0, 1.0, None, None], width=2) == "█ "


def test_zeros_lie_on_the_floor() -> None:
    assert sparkline([0, 0]) == "▁▁"


def test_no_values_draw_nothing() -> None:
    assert sparkline([]) == ""
    assert sparkline([None, None]) == ""


def test_booleans_and_huge_integers_are_numbers() -> None:
    assert sparkline([False, True]) == "▁█"
    assert sparkline([0, 2**63]) == "▁█"


def test_another_ramp_for_plain_terminals() -> None:
    assert sparkline([0, 1], ramp=ASCII) == ".@"

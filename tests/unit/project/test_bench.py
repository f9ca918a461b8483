import pytest

from tests.bench.__main__ import PARTS, chosen
from tests.bench.figures import HEADINGS, Goal, Sample, percentile, row, table
from tests.bench.report import replaced


def sample(**changes: float) -> Sample:
    values = {
        "rate": 100.0,
        "raw_rate": 1000.0,
        "cpu_ms": 2.0,
        "raw_cpu_ms": 0.1,
        "busy": 0.5,
        "p50_ms": 1.0,
        "p99_ms": 3.0,
        "half_p50_ms": 1.0,
        "half_p99_ms": 2.0,
    }
    return Sample(**{**values, **changes})


@pytest.mark.parametrize(("percent", "expected"), [(50, 2), (75, 3), (76, 4), (99, 4), (1, 1)])
def test_a_percentile_is_a_value_that_was_measured(percent: float, expected: float) -> None:
    assert percentile([4, 1, 3, 2], percent) == expected


def test_nothing_measured_has_no_percentile() -> None:
    with pytest.raises(ValueError, match="nothing was measured"):
        percentile([], 50)


@pytest.mark.parametrize(
    ("goal", "met"),
    [
        (Goal(ratio=0.1), True),
        (Goal(ratio=0.11), False),
        (Goal(cpu_ms=2.0), True),
        (Goal(cpu_ms=1.9), False),
        (Goal(half_p99_ms=2.0), True),
        (Goal(half_p99_ms=1.9), False),
        (Goal(ratio=0.1, half_p99_ms=1.9), False),
    ],
)
def test_a_goal_is_met_by_the_median_of_the_rounds(goal: Goal, *, met: bool) -> None:
    middle, better, worse = sample(), sample(rate=200, cpu_ms=1, half_p99_ms=1), sample(rate=1, cpu_ms=9, half_p99_ms=9)
    assert goal.met_by([better, worse, middle]) is met


def test_a_row_has_a_cell_under_each_heading() -> None:
    cells = row("status", "SQLite", [sample(rate=50), sample(), sample(rate=120)], Goal(ratio=0.13))
    told = dict(zip(HEADINGS, cells, strict=True))
    assert told["ratio to raw"] == "0.100"
    assert told["spread"] == "0.050–0.120"
    assert told["ratio by CPU"] == "0.050"
    assert told["goal"] == "ratio ≥ 0.13"
    assert told["met"] == "**no**"


def test_a_table_is_markdown() -> None:
    assert table([("a", "bb"), ("ccc", "d")]).splitlines() == ["| a   | bb |", "|-----|----|", "| ccc | d  |"]


def test_all_is_measured_unless_a_part_is_named() -> None:
    assert chosen("") == PARTS
    assert chosen("status, callback") == ["status", "callback"]


def test_a_part_that_there_is_not_is_named() -> None:
    with pytest.raises(SystemExit, match="sttaus"):
        chosen("sttaus")


def test_a_block_takes_the_place_of_the_last_one_of_its_name() -> None:
    document = "Before\n<!-- a begin -->\nold\n<!-- a end -->\n<!-- b begin -->\nother\n<!-- b end -->\n"
    assert replaced(document, "a", "new") == document.replace("old", "new")


def test_a_block_without_a_place_is_refused() -> None:
    with pytest.raises(ValueError, match="no place for a"):
        replaced("<!-- a begin -->\nand no end", "a", "new")

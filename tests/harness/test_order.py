from pathlib import Path

import pytest

from tests.harness.order import ALONE, SLOW, dealt

QUICK = [f"tests/unit/test_{file}.py::test_{number}" for file in "abc" for number in range(20)]
KEYCLOAK = ["tests/integrations/keycloak/test_keycloak.py::test_it"]
DEMO = [f"tests/system/test_demo.py::test_{number}" for number in range(3)]
WHEEL = [f"tests/system/test_wheel.py::test_{number}" for number in range(3)]


def test_each_process_begins_with_slow_files_and_no_test_is_lost() -> None:
    tests = [*QUICK[:30], *DEMO, *KEYCLOAK, *QUICK[30:], *WHEEL]
    order = dealt(tests, 2)
    assert sorted(order) == sorted(tests)
    half = len(tests) // 2
    assert order[:1] == KEYCLOAK
    assert order[half : half + 6] == [*DEMO, *WHEEL]
    assert [test for test in order if test in QUICK] == QUICK


def test_more_slow_tests_than_a_share_holds_are_all_run() -> None:
    tests = [*QUICK[:2], *DEMO, *WHEEL]
    assert sorted(dealt(tests, 4)) == sorted(tests)


def test_one_process_runs_the_slow_files_first() -> None:
    assert dealt([*QUICK, *DEMO, *KEYCLOAK], 1) == [*KEYCLOAK, *DEMO, *QUICK]


def test_who_asks_to_be_alone_is_in_one_process() -> None:
    faults = [test.replace("demo", "faults") for test in DEMO]
    order = dealt([*DEMO, *QUICK, *WHEEL, *faults], 2)
    assert order[: len(DEMO + faults)] == DEMO + faults


def test_every_slow_place_is_there(request: pytest.FixtureRequest) -> None:
    for places in SLOW:
        for place in places:
            assert (request.config.rootpath / place).exists(), place


def test_every_file_that_asks_to_be_alone_is_known(request: pytest.FixtureRequest) -> None:
    root = request.config.rootpath
    asking = {file for file in root.glob("tests/**/test_*.py") if 'usefixtures("alone")' in file.read_text()}
    assert asking - {Path(__file__)} == {root / place for place in ALONE}

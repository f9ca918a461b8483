import pytest

from tests.harness.order import SLOW, dealt

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
    assert order[half : half + 6] == [*WHEEL, *DEMO]
    assert [test for test in order if test in QUICK] == QUICK


def test_more_slow_tests_than_a_share_holds_are_all_run() -> None:
    tests = [*QUICK[:2], *DEMO, *WHEEL]
    assert sorted(dealt(tests, 4)) == sorted(tests)


def test_one_process_runs_the_slow_files_first() -> None:
    assert dealt([*QUICK, *DEMO, *KEYCLOAK], 1) == [*KEYCLOAK, *DEMO, *QUICK]


def test_every_slow_place_is_there(request: pytest.FixtureRequest) -> None:
    for place in SLOW:
        path, _, test = place.partition("::")
        assert (request.config.rootpath / path).exists(), place
        assert test in (request.config.rootpath / path).read_text() if test else True, place

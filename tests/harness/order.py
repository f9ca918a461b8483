"""The slow tests begin first: what begins last and takes long is what everybody waits for in the end. A hook of pytest.

xdist gives each of its processes an equal piece of the list, and whoever is done takes from the end of another's piece.
So each piece begins with a share of the slow files.
"""

import os
from collections.abc import Sequence
from itertools import cycle, groupby

import pytest

# Their tests ask to be alone: in one process they do not wait for each other.
ALONE = (
    "tests/system/test_demo.py",
    "tests/system/test_exactly_once.py",
    "tests/system/test_failover.py",
    "tests/system/test_faults.py",
    "tests/system/test_telemetry.py",
)
# The slowest first, by the beginnings of their tests' ids.
SLOW: tuple[tuple[str, ...], ...] = (
    ("tests/integrations/keycloak/",),
    ALONE,
    ("tests/acme/test_in_a_browser.py",),
    ("tests/system/test_docs.py",),
    ("tests/fuzz/test_openapi.py",),
    ("tests/fuzz/test_model.py",),
    ("tests/integrations/",),
    ("tests/system/test_generated_clients.py",),
    ("tests/system/test_leaks.py",),
    ("tests/system/test_wheel.py",),
    ("tests/system/",),
)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    by_id = {item.nodeid: item for item in items}
    items[:] = map(by_id.__getitem__, dealt(list(by_id), int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))))


def dealt(tests: Sequence[str], processes: int) -> list[str]:
    """The same tests, by their ids: for each process first a share of the slow ones, in whole files, then others."""
    slow = sorted((test for test in tests if _rank(test) < len(SLOW)), key=_rank)  # stable: a file stays together
    quick = [test for test in tests if _rank(test) == len(SLOW)]
    shares: list[list[str]] = [[] for _ in range(processes)]
    for share, (_, file) in zip(cycle([*shares, *reversed(shares)]), groupby(slow, _file), strict=False):
        share.extend(file)
    for number, share in enumerate(shares):
        end = len(tests) * (number + 1) // processes
        room = max(0, end - len(tests) * number // processes - len(share))
        share.extend(quick[:room])
        del quick[:room]
    return [test for share in (*shares, quick) for test in share]


def _rank(test: str) -> int:
    return next((rank for rank, places in enumerate(SLOW) if test.startswith(places)), len(SLOW))


def _file(test: str) -> tuple[int, str]:
    return _rank(test), "" if test.startswith(ALONE) else test.partition("::")[0]

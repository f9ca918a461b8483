"""docs/performance.md tells of each operation that is measured, and has a place for each table."""

import pytest

from tests.bench.operations import OPERATIONS
from tests.bench.report import replaced
from tests.harness.containers import REPOSITORY

TEXT = (REPOSITORY / "docs" / "performance.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("title", [operation.title for operation in OPERATIONS])
def test_each_operation_is_explained(title: str) -> None:
    assert f"\n- **{title}**: " in TEXT


@pytest.mark.parametrize("name", ["operations", "limits", "peers", "large"])
def test_each_table_has_its_place(name: str) -> None:
    assert "\nas printed\n" in replaced(TEXT, name, "as printed")

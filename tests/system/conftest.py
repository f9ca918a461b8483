from pathlib import Path

import pytest

from tests.system.processes import Workplace


@pytest.fixture
def work(tmp_path: Path) -> Workplace:
    return Workplace(tmp_path)

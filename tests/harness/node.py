import os
import shutil

import pytest


def node_or_skip() -> str:
    """Where Node is; without it the test is skipped, unless REQUIRE_NODE says that it may not be."""
    found = shutil.which("node")
    if found is None and os.environ.get("REQUIRE_NODE") != "1":
        pytest.skip("needs Node")
    assert found, "REQUIRE_NODE=1, and there is no Node"
    return found

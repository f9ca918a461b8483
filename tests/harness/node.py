import shutil

import pytest


def node_or_skip() -> str:
    """Where Node is; without it the test is skipped."""
    found = shutil.which("node")
    if found is None:
        pytest.skip("needs Node")
    return found

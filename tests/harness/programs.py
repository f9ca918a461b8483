import os
import shutil

import pytest

# Where Debian keeps servers and Go its program, which not everybody's PATH names.
PLACES = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/usr/local/go/bin"))


def program_or_skip(*names: str) -> str:
    """Where the first program is that is found under one of these names; without any, the test is skipped."""
    found = next(filter(None, (shutil.which(name, path=PLACES) for name in names)), None)
    if found is None:
        pytest.skip(f"needs {names[0]}")
    return found

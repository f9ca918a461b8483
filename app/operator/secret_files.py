"""A folder of secrets, one a file, as container platforms mount them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

OWNER_ONLY = 0o700
# Each container runs as a user of its own, who must be able to read what is mounted for it; the folder keeps others
# out.
READABLE = 0o644


def write(folder: Path, secrets: Mapping[str, str]) -> None:
    """Make the folder, which only its owner can enter, and a file in it for each name in lower case. Raises OSError."""
    folder.mkdir(OWNER_ONLY)
    for name, value in secrets.items():
        file = folder / name.lower()
        file.write_text(value, encoding="utf-8")
        file.chmod(READABLE)

"""The map of the house, held against the tree: both ways, as soon as there is a map."""

import re

from tests.harness.containers import REPOSITORY

MAP = REPOSITORY / "docs" / "architecture.md"
TEXT = MAP.read_text(encoding="utf-8") if MAP.exists() else ""
NAMED = set(re.findall(r"`([\w.-]+(?:/[\w.-]+)*(?:\.(?:py|md|toml|html|css|js|java|ini|yml|lock\.txt)|/))`", TEXT))
ROOMS = {path.parent.name for path in (REPOSITORY / "app").glob("*/__init__.py")}


def test_each_file_and_folder_that_the_map_names_exists() -> None:
    missing = {name for name in NAMED if not any((REPOSITORY / beside / name).exists() for beside in ("", "app"))}
    assert not missing, "name them from the repository or from app/ on"


def test_the_map_shows_every_room() -> None:
    shown = {name.removeprefix("app/").partition("/")[0] for name in NAMED}
    assert not TEXT or shown >= ROOMS, ROOMS - shown

import re
import tomllib

import pytest

from tests.harness.containers import read
from tests.release import faults

GOOD = (
    "# Changelog\n\n## [Unreleased]\n\n## [1.2.0] - 2026-11-26\n\n- News.\n\n## [1.1.0] - 2026-01-02\n\n- Older news.\n"
)
HEAD = "the commit to be released"


def found(
    version: str = "1.2.0", changelog: str = GOOD, tags: dict[str, str] | None = None, *, clean: bool = True
) -> list[str]:
    return faults(version, changelog, tags or {}, HEAD, clean=clean)


@pytest.mark.parametrize(
    "tags", [{}, {"v1.1.0": "an older commit"}, {"v1.2.0": HEAD}], ids=["no tag", "older tags", "tagged"]
)
def test_nothing_stands_against_it(tags: dict[str, str]) -> None:
    assert found(tags=tags) == []


@pytest.mark.parametrize(
    ("changelog", "words"),
    [
        ("", "[Unreleased]"),
        (GOOD.replace("## [Unreleased]\n", ""), "[Unreleased]"),
        (GOOD.replace("[Unreleased]\n", "[Unreleased]\n\n- Not yet released.\n"), "[Unreleased]"),
        (GOOD.replace("1.2.0", "1.3.0"), "the newest version in CHANGELOG.md is 1.3.0"),
        (GOOD.replace("- News.", ""), "nothing about 1.2.0"),
        (GOOD.replace(" - 2026-11-26", ""), "[1.2.0] of CHANGELOG.md has no date"),
        (GOOD.replace("2026-01-02", "2026-13-02"), "[1.1.0] of CHANGELOG.md has no date"),
    ],
)
def test_the_changelog_must_belong_to_the_version(changelog: str, words: str) -> None:
    assert any(words in fault for fault in found(changelog=changelog))


def test_a_tag_is_never_moved() -> None:
    assert found(tags={"v1.2.0": "another commit"}) == [
        "v1.2.0 is a tag of another commit: choose the next version in pyproject.toml"
    ]


def test_nothing_may_be_left_uncommitted() -> None:
    assert found(clean=False) == ["there are changes that are not committed"]


def test_a_version_has_three_numbers() -> None:
    assert any("MAJOR.MINOR.PATCH" in fault for fault in found(version="1.2"))


def test_the_changelog_has_a_section_for_the_version_at_hand() -> None:
    version = tomllib.loads(read("pyproject.toml"))["project"]["version"]
    assert re.search(rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d$", read("CHANGELOG.md"), re.MULTILINE)

"""The index of decisions, held against the folder."""

import re
from datetime import date

import pytest

from tests.harness.containers import REPOSITORY

FOLDER = REPOSITORY / "docs" / "decisions"
DECISIONS = sorted(path.name for path in FOLDER.glob("*.md") if path.name != "README.md")
INDEX = (FOLDER / "README.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| (\d{4}) \| \[(.+)\]\((.+)\) \| (\S+) \| (.+) \|$", re.MULTILINE)
STATUS = r"accepted|superseded by (?P<by>\d{4})"
HEAD = re.compile(rf"# (?P<title>.+)\n\n- Date: (?P<date>\d{{4}}-\d\d-\d\d)\n- Status: (?P<status>{STATUS})\n\n")


def head(name: str) -> re.Match[str]:
    found = HEAD.match((FOLDER / name).read_text(encoding="utf-8"))
    assert found, f"{name} must begin with its title, an empty line, '- Date: YYYY-MM-DD' and '- Status: accepted'"
    return found


@pytest.mark.parametrize("name", DECISIONS)
def test_a_decision_says_when_it_was_made_and_whether_it_stands(name: str) -> None:
    found = head(name)
    assert date.fromisoformat(found["date"])
    assert found["by"] is None or any(other.startswith(f"{found['by']}-") for other in DECISIONS)


def test_the_index_lists_every_decision_as_it_is() -> None:
    expected = [(name[:4], head(name)["title"], name, head(name)["date"], head(name)["status"]) for name in DECISIONS]
    assert ROW.findall(INDEX) == expected


def test_no_number_is_given_twice() -> None:
    assert len({name[:4] for name in DECISIONS}) == len(DECISIONS)

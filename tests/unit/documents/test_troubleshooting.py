"""docs/troubleshooting.md, held against every code and page that somebody may meet."""

import re

import pytest

from app.api.page_words import PAGES
from app.core import errors
from app.core.failures import CATALOGUE
from app.flows.hosted import PageKind
from app.settings import Settings
from tests.defences import REPOSITORY

TEXT = (REPOSITORY / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
A_REMEDY = 40


def rows(heading: str) -> list[list[str]]:
    """The cells of the table under a heading, row by row."""
    section = TEXT.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_every_code_of_a_decision_has_its_cause_and_its_remedy() -> None:
    assert rows("Codes of a decision") == [
        [f"`{code}`", "yes" if kind.about_the_person else "no", kind.detail, kind.hint]
        for code, kind in CATALOGUE.items()
    ]


def test_every_code_of_a_problem_has_its_cause_and_a_remedy() -> None:
    found = rows("Codes of a refused request or a fault")
    assert [row[:3] for row in found] == [
        [f"`{problem.code}`", str(problem.status), problem.detail] for problem in errors.Problem.__subclasses__()
    ]
    assert all(len(remedy) >= A_REMEDY for *_, remedy in found)


def test_every_page_has_its_title_its_cause_and_a_remedy() -> None:
    found = rows("Pages that a person may see")
    assert [row[:2] for row in found] == [[f"`{kind}`", PAGES[kind]["en"].title] for kind in PageKind]
    assert all(len(cause) >= A_REMEDY and len(remedy) >= A_REMEDY for _, _, cause, remedy in found)


@pytest.mark.parametrize(
    "heading",
    [
        "A user who should verify again is not asked to",
        "`invalid_scope`",
        "`invalid_client`",
        "`identity_verification_failed`",
        "`no_code_returned`",
    ],
)
def test_what_the_actions_document_answers_is_answered_here(heading: str) -> None:
    section = TEXT.partition(f"\n### {heading}\n")[2].partition("\n#")[0]
    assert len(section.split()) >= 30


def test_the_settings_and_commands_that_it_names_are_there() -> None:
    texts = TEXT + "".join(kind.hint for kind in CATALOGUE.values())
    named = set(re.findall(r"\b[A-Z][A-Z0-9]*_[A-Z0-9_]+\b", texts))
    assert named
    assert named <= {name.upper() for name in Settings.model_fields}
    commands = set(re.findall(r"`idv ([a-z-]+)", texts))
    assert commands
    assert commands <= set(re.findall(r"^\| `idv ([a-z-]+)", README, re.MULTILINE))

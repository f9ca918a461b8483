import re
from pathlib import Path

from tests.defences import DEFENCES, REPOSITORY

ROWS = re.findall(r"^\| ([^|]+) \| `([^`]+)` \| (.+) \|$", (REPOSITORY / "SECURITY.md").read_text(encoding="utf-8"), re.MULTILINE)


def test_the_document_lists_the_defences_that_the_script_takes_out() -> None:
    assert {(name, file, tests.replace("`", "").replace(",", "")) for name, file, tests in ROWS} == {
        (defence.name, defence.file, defence.tests) for defence in DEFENCES
    }


def test_the_lines_of_each_defence_are_found_once_and_its_tests_are_there() -> None:
    for defence in DEFENCES:
        assert (REPOSITORY / defence.file).read_text(encoding="utf-8").count(defence.original) == 1, defence.name
        assert all(Path(REPOSITORY / test).exists() for test in defence.tests.split()), defence.name

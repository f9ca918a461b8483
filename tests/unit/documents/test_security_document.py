import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

from tests.defences import DEFENCES, REPOSITORY

TEXT = (REPOSITORY / "SECURITY.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| ([^|]+) \| `([^`]+)` \| (.+) \|$", TEXT, re.MULTILINE)


def test_the_document_lists_the_defences_that_the_script_takes_out() -> None:
    assert {(name, file, tests.replace("`", "").replace(",", "")) for name, file, tests in ROWS} == {
        (defence.name, defence.file, defence.tests) for defence in DEFENCES
    }


def test_the_lines_of_each_defence_are_found_once_and_its_tests_are_there() -> None:
    """Seen here within a second: a defence that the script cannot take out any more since the code has moved."""
    texts = {
        path: path.read_text(encoding="utf-8") for path in (REPOSITORY / one.file for one in DEFENCES) if path.exists()
    }
    found = {one.name: texts.get(REPOSITORY / one.file, "").count(one.original) for one in DEFENCES}
    assert not {name: times for name, times in found.items() if times != 1}
    assert not {test for one in DEFENCES for test in one.tests.split() if not Path(REPOSITORY / test).exists()}


def test_the_document_counts_the_tests_of_each_kind_of_attack() -> None:
    collect = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-n", "0", "-p", "no:cacheprovider"]
    collected = subprocess.run(  # noqa: S603  our own tests
        [*collect, "tests/attacks"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    files = Counter(re.findall(r"^tests/attacks/test_(\w+)\.py::", collected.stdout, re.MULTILINE))
    told = re.findall(r"^\| ([a-z ]+) \| [^|]+ \| (\d+) \|$", TEXT, re.MULTILINE)
    assert {kind.replace(" ", "_"): int(tests) for kind, tests in told} == files

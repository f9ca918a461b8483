"""Changes core and use-cases in one spot at a time (mutmut) and shows each change that no test notices: a survivor.

Run it with `make mutate`. A survivor is killed by a new test or explained in mutation_survivors.toml. It ends with an
error when a survivor is not in that list, and when the list names a change that does not survive or cannot be made any
more.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
LIST = REPOSITORY / "tests" / "mutation_survivors.toml"
MUTMUT = Path(sys.executable).with_name("mutmut")
LIMIT_SECONDS = 3 * 60 * 60


@dataclass(frozen=True, slots=True, order=True)
class Change:
    """A function, and the lines of it that became others."""

    function: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.function}\n    - {self.before}\n    + {self.after}"


def mutmut(*arguments: str, capture: bool = True) -> str:
    """What the tool prints."""
    command = [str(MUTMUT), *arguments]
    ran = subprocess.run(  # noqa: S603  a tool of our own environment
        command,
        cwd=REPOSITORY,
        timeout=LIMIT_SECONDS,
        stdout=subprocess.PIPE if capture else None,
        text=True,
        check=False,
    )
    if ran.returncode:
        raise SystemExit(f"mutmut {arguments[0]} failed")
    return ran.stdout or ""


def survivors() -> Counter[Change]:
    """Every change of the last run that no test noticed, those included that no test came near.

    A test that hangs has noticed.
    """
    verdicts = (line.strip().rpartition(": ") for line in mutmut("results").splitlines())
    return Counter(change(name) for name, _, verdict in verdicts if verdict != "timeout")


def change(name: str) -> Change:
    """What the tool calls `name`. Its numbers are its own and move with the code: the lines are what stays."""
    module, _, function = name.rpartition("__mutmut_")[0].rpartition(".")
    lines = mutmut("show", name).splitlines()
    before, after = (
        " ".join(line[1:].strip() for line in lines if line.startswith(sign) and not line.startswith(sign * 3))
        for sign in "-+"
    )
    return Change(f"{module}.{function[2:].replace('ǁ', '.')}", before, after)


def explained() -> Counter[Change]:
    """The changes that the list explains."""
    entries = tomllib.loads(LIST.read_text(encoding="utf-8"))["survivor"]
    if not all(entry["reason"] for entry in entries):
        raise SystemExit("An entry of the list gives no reason")
    return Counter(Change(entry["function"], entry["before"], entry["after"]) for entry in entries)


def main() -> None:
    """Run the tool from the beginning, and compare what it leaves with the list."""
    shutil.rmtree(REPOSITORY / "mutants", ignore_errors=True)
    mutmut("run", capture=False)
    found, listed = survivors(), explained()
    for title, changes in (("No test notices", found - listed), ("Listed, and no survivor", listed - found)):
        for one in sorted(changes.elements()):
            print(f"{title}: {one}")
    if found != listed:
        raise SystemExit(1)
    print(f"No unexplained survivor; {found.total()} are explained in tests/{LIST.name}.")


if __name__ == "__main__":
    main()

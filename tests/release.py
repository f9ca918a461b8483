"""Checks that version, changelog and tag belong together before a release; `make release` runs it and says what comes
next.
"""

from __future__ import annotations

import re
import subprocess
import tomllib
from datetime import date
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
_SECTION = re.compile(r"^## \[(?P<version>[^\]]+)\](?: - (?P<date>\S+))?$", re.MULTILINE)


def faults(version: str, changelog: str, tags: dict[str, str], head: str, *, clean: bool) -> list[str]:
    """What stands against a release of this version. `tags` are commits by tag; `head` is the commit to be released."""
    sections = [(found["version"], found["date"]) for found in _SECTION.finditer(changelog)]
    released = [name for name, _ in sections if name != "Unreleased"]
    found = []
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        found.append(f"{version} is no version of the form MAJOR.MINOR.PATCH")
    if not sections or sections[0][0] != "Unreleased" or _text_under("Unreleased", changelog):
        found.append("CHANGELOG.md must begin with an empty section [Unreleased]")
    newest = released[0] if released else "none"
    if newest != version:
        found.append(f"the newest version in CHANGELOG.md is {newest}, and pyproject.toml says {version}")
    elif not _text_under(version, changelog):
        found.append(f"CHANGELOG.md says nothing about {version}")
    undated = [name for name, day in sections if name != "Unreleased" and not _is_date(day)]
    found += [f"the section [{name}] of CHANGELOG.md has no date" for name in undated]
    if tags.get(f"v{version}", head) != head:
        found.append(f"v{version} is a tag of another commit: choose the next version in pyproject.toml")
    if not clean:
        found.append("there are changes that are not committed")
    return found


def _text_under(version: str, changelog: str) -> str:
    return changelog.partition(f"## [{version}]")[2].partition("\n")[2].partition("\n## [")[0].strip()


def _is_date(text: str | None) -> bool:
    try:
        return text is not None and date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def git(*arguments: str) -> str:
    """What git prints."""
    return subprocess.run(  # noqa: S603
        ["git", *arguments],  # noqa: S607
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


def main() -> None:
    """Say what stands against a release, or which commands make it."""
    version = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    tags = {tag: git("rev-parse", f"{tag}^{{commit}}") for tag in git("tag", "--list", "v*").splitlines()}
    changelog = (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")
    found = faults(version, changelog, tags, git("rev-parse", "HEAD"), clean=not git("status", "--porcelain"))
    if found:
        raise SystemExit("\n".join(["Not to be released:", *(f"  {fault}" for fault in found)]))
    if f"v{version}" in tags:
        print(f"{version} is tagged here. Now: git push origin v{version}")
    else:
        print(f"{version} can be released. Now: git tag --annotate v{version} --message 'Version {version}'")


if __name__ == "__main__":
    main()

"""`idv import`: users whom the Action has verified.

They come from Auth0's export, or from one's own list, NDJSON, plain or gzipped.
"""

from __future__ import annotations

import gzip
import secrets
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, cast

from app.core.domain import USER_ID, Actor, AuditAction, AuditEntry, Json, Rules, UserRecord
from app.core.imports import Trap, read_app_metadata
from app.oidc import parse_object
from app.storage.importing import Imported, Importer

BATCH = 1000
# Auth0 keeps less than this of one user.
MAX_LINE_BYTES = 1024 * 1024
_GZIP = b"\x1f\x8b"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"

Progress = Callable[[int], None]


class _FileUnusable(Exception):
    """The file cannot be read to its end; the text says why."""


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that is no user's, by its number, which begins with 1."""

    number: int
    fault: str


@dataclass(slots=True)
class Report:
    """What an import has come to, or would come to.

    `verified` are those of the read records that say so and count. `fault` is why the file could not be read to its
    end.
    """

    lines: int = 0
    without_record: int = 0
    repeated: int = 0
    verified: int = 0
    imported: Imported = field(default_factory=Imported)
    traps: Counter[Trap] = field(default_factory=Counter)
    bad_lines: list[BadLine] = field(default_factory=list)
    fault: str | None = None

    def as_json(self) -> dict[str, Json]:
        """The report, for scripts."""
        return {
            "lines": self.lines,
            "added": self.imported.added,
            "on_file": self.imported.on_file,
            "withdrawn": self.imported.withdrawn,
            "repeated": self.repeated,
            "without_record": self.without_record,
            "verified": self.verified,
            "traps": dict(self.traps),
            "bad_lines": [{"line": bad.number, "fault": bad.fault} for bad in self.bad_lines],
            "complete": self.fault is None,
        }


@dataclass(slots=True)
class Import:
    """One run over one file: `entry` goes into the audit with the first users, unless nothing is to be written."""

    importer: Importer
    rules: Rules
    now: datetime
    by: Actor
    dry_run: bool
    report: Report = field(default_factory=Report)

    async def run(self, file: Path, show: Progress) -> Report:
        """Take over what the file holds. Raises DatabaseUnavailable; it may be run again."""
        entry = None if self.dry_run else self._entry()
        for batch in self._batches(file):
            done = await (self.importer.look(batch) if self.dry_run else self.importer.add(batch, entry))
            self.report.imported += done
            entry = None
            show(self.report.lines)
        return self.report

    def _batches(self, file: Path) -> Iterator[Mapping[str, UserRecord]]:
        """The users of the file, so many at a time; what came before a fault of the file is taken over all the same."""
        seen: set[int] = set()
        batch: dict[str, UserRecord] = {}
        try:
            for number, line in _lines(file):
                self.report.lines = number
                user_id, record = self._read(number, line, seen) or (None, None)
                if user_id is None or record is None:
                    continue
                batch[user_id] = record
                if len(batch) == BATCH:
                    yield batch
                    batch = {}
        except _FileUnusable as fault:
            self.report.fault = str(fault)
        if batch:
            yield batch

    def _read(self, number: int, line: bytes, seen: set[int]) -> tuple[str, UserRecord] | None:
        try:
            user_id, metadata = _user(line)
        except ValueError as fault:
            self.report.bad_lines.append(BadLine(number, str(fault)))
            return None
        if hash(user_id) in seen:
            self.report.repeated += 1
            return None
        seen.add(hash(user_id))
        kept = read_app_metadata(metadata, self.now, self.rules)
        if kept.record is None:
            self.report.without_record += 1
            return None
        self.report.traps.update(kept.traps)
        self.report.verified += bool(kept.record.completed)
        return user_id, kept.record

    def _entry(self) -> AuditEntry:
        return AuditEntry(
            id=f"aud_{secrets.token_hex(16)}",
            at=self.now,
            action=AuditAction.IMPORT,
            by=self.by.name,
            user_id=None,
            request_id=self.by.request_id,
        )


def _user(line: bytes) -> tuple[str, Mapping[str, Json]]:
    """The user's id and what was kept of the user. Raises ValueError, whose text repeats nothing of the line."""
    if len(line) > MAX_LINE_BYTES:
        raise ValueError("is longer than 1 MB")
    try:
        told = parse_object(line)
    except ValueError:
        raise ValueError("is no JSON object") from None
    user_id, metadata = told.get("user_id"), told.get("app_metadata")
    if not isinstance(user_id, str) or not USER_ID.fullmatch(user_id):
        raise ValueError("has no user_id of 1 to 255 characters without control characters")
    if metadata is not None and not isinstance(metadata, dict):
        raise ValueError("has an app_metadata that is no object")
    return user_id, metadata or {}


def _lines(file: Path) -> Iterator[tuple[int, bytes]]:
    """The lines that hold something, each with its number; of one that is too long, the beginning.

    Raises _FileUnusable.
    """
    number = 0
    try:
        with _opened(file) as stream:
            while line := stream.readline(MAX_LINE_BYTES + 1):
                number += 1
                rest = line
                while len(rest) > MAX_LINE_BYTES and not rest.endswith(b"\n"):
                    rest = stream.readline(MAX_LINE_BYTES + 1)
                text = line.removeprefix(_BYTE_ORDER_MARK) if number == 1 else line
                if text.strip():
                    yield number, text
    except EOFError:
        raise _FileUnusable(f"it ends in the middle, after line {number}: fetch it again") from None
    except zlib.error:
        raise _FileUnusable(f"what follows line {number} is damaged: fetch it again") from None
    except OSError as fault:
        raise _FileUnusable(fault.strerror or f"what follows line {number} is damaged: fetch it again") from None


def _opened(file: Path) -> BinaryIO:
    with file.open("rb") as stream:
        zipped = stream.read(len(_GZIP)) == _GZIP
    return cast("BinaryIO", gzip.open(file, "rb")) if zipped else file.open("rb")

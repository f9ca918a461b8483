"""What the operator's commands show to people: ids, times and codes, never a name or an e-mail address."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text

from app.api.schemas import AuditEntryPage, AuditEntryView, UserStatusView, VerificationPage, VerificationView
from app.core import claims, failures
from app.core.domain import Reason, Status
from app.core.imports import MEANINGS
from app.operator.importing import Report

_LABEL_WIDTH = 15
_UNLIMITED = 10_000
_MEANINGS = {
    Reason.NEVER_VERIFIED: "no verification is on file",
    Reason.NOT_VERIFIED: "the last verification failed, or was reset",
    Reason.REVERIFICATION_DUE: "the last verification is too old",
    Reason.RECORD_INVALID: "the record is incomplete, from the future, or sealed with a key that ENCRYPTION_KEYS lacks",
    Reason.RECENTLY_VERIFIED: "the last verification still stands",
}
_AUDIT = ("started by", "finished by")
_KIND = ("flow", "purpose")
_STYLES = {Status.COMPLETED: "green", Status.FAILED: "red", Status.EXPIRED: "yellow"}


_PERSONAL: dict[str, Any] = {"pii": {}, "userinfo": None}


class Field(NamedTuple):
    """A labelled text, and the style that it is printed in."""

    label: str
    text: str
    style: str = ""


def without_personal_data(status: UserStatusView) -> UserStatusView:
    """The status with neither names nor anything else that the provider told about the person, ids and scores apart."""
    claims = {name: _impersonal(claim) for name, claim in status.claims.items()}
    metadata = {name: _impersonal(value) for name, value in status.app_metadata.items()}
    return status.model_copy(update={"claims": claims, "app_metadata": metadata})


def show_user(status: UserStatusView, newest: VerificationPage) -> None:
    """Print whether a user's verification stands, why, and the newest attempts."""
    console = _console()
    on_file = status.app_metadata
    _show_fields(
        console,
        [
            Field("user", status.user_id, "bold"),
            Field("verified", "yes", "green") if status.verified else Field("verified", "no", "red"),
            Field("reason", f"{status.reason} ({_MEANINGS[status.reason]})"),
            Field("last verified", _moment(on_file.get("incode_idv_completed_at"))),
            Field("valid until", _moment(status.reverify_at) or ("no end is set" if status.verified else "")),
            Field("identity", on_file.get("incode_identity_id") or ""),
            *_personal((on_file.get("incode_idv") or {}).get("pii") or {}),
            *_last_error(on_file.get("incode_idv_error")),
        ],
    )
    console.print("\nNewest attempts:" if newest.items else "\nNo attempts are on file.")
    _show_rows(console, [_attempt(item, with_user=False) for item in newest.items])


def show_entries(page: AuditEntryPage) -> None:
    """Print a page of what administrators did, newest first."""
    console = _console()
    if not page.items:
        console.print("There are no such entries.")
    _show_rows(console, [_entry(item) for item in page.items])
    if page.next_cursor:
        console.print(f"There are more: --cursor {page.next_cursor}", soft_wrap=True)


def show_import(done: Report, *, dry_run: bool) -> None:
    """Print what an import has come to, or would come to."""
    console = _console()
    counts = {
        "lines": done.lines,
        "would be put on file" if dry_run else "put on file": done.imported.added,
        "on file before, and left as they are": done.imported.on_file,
        "reset or erased by an administrator, and left out": done.imported.withdrawn,
        "in the file again, and left out": done.repeated,
        "without a verification, and left out": done.without_record,
        "no user's, and left out": len(done.bad_lines),
    }
    for label, number in counts.items():
        if number or label == "lines" or label.endswith("put on file"):
            console.print(f"{number:>9}  {label}")
    console.print(f"\nOf the users that were read, {done.verified} have a verification that counts.")
    for trap, number in done.traps.most_common():
        console.print(f"{number:>9}  {trap}: {MEANINGS[trap]}", soft_wrap=True)


def show_attempts(page: VerificationPage, *, with_user: bool, narrowed: bool) -> None:
    """Print a page of attempts, newest first; `narrowed` where not all of them were asked for."""
    console = _console()
    if not page.items:
        wider = " Look without some of the options." if narrowed else ""
        console.print(f"There are no such attempts.{wider} `idv purge` removes those older than RETENTION_DAYS.")
    _show_rows(console, [_attempt(item, with_user=with_user) for item in page.items])
    if page.next_cursor:
        console.print(f"There are more: --cursor {page.next_cursor}", soft_wrap=True)


def _console() -> Console:
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _UNLIMITED
    return console


def _impersonal(value: Any) -> Any:
    return {name: _PERSONAL.get(name, kept) for name, kept in value.items()} if isinstance(value, dict) else value


def _personal(pii: Mapping[str, Any]) -> list[Field]:
    return [
        Field(name.replace("_", " "), value if isinstance(value, str) else json.dumps(value))
        for name, value in pii.items()
    ]


def _last_error(stored: str | None) -> list[Field]:
    if stored is None:
        return []
    failure = claims.read_error_text(stored)
    if failure is None:
        return [Field("last error", "one that this version does not know; --json shows it")]
    return [
        Field("last error", f"{failure.code}: {failures.detail_in_our_words(failure)}"),
        Field("what to do", failures.hint(failure)),
    ]


def _attempt(item: VerificationView, *, with_user: bool) -> list[Field]:
    return [
        Field("id", item.id),
        *([Field("user", item.user_id)] if with_user else []),
        Field("began (UTC)", _moment(item.created_at).removesuffix(" UTC")),
        Field("flow", item.flow),
        Field("purpose", item.purpose),
        Field("status", item.status, _STYLES.get(item.status, "")),
        Field("error", _error(item)),
        Field("started by", item.started_by),
        Field("finished by", item.finished_by or ""),
    ]


def _entry(item: AuditEntryView) -> list[Field]:
    return [
        Field("id", item.id),
        Field("when (UTC)", _moment(item.at).removesuffix(" UTC")),
        Field("action", item.action),
        Field("user", item.user_id or ""),
        Field("by", item.by),
        Field("request", item.request_id or ""),
    ]


def _error(item: VerificationView) -> str:
    if item.error is None:
        return ""
    return item.error.code + (f" ({item.auth_overall_status})" if item.error.code == "status_not_accepted" else "")


def _show_rows(console: Console, rows: Sequence[Sequence[Field]]) -> None:
    """Print a table without the columns that the terminal has no room for, or else the fields one below the other."""
    if not rows:
        return
    for left_out in ((), _AUDIT, (*_AUDIT, *_KIND)):
        table = _table(rows, left_out)
        if console.measure(table, options=console.options.update(width=_UNLIMITED)).maximum <= console.width:
            console.print(table)
            if left_out:
                console.print(f"Not shown: {', '.join(left_out)}. A wider terminal has room for them.")
            return
    for row in rows:
        console.print()
        _show_fields(console, row)


def _table(rows: Sequence[Sequence[Field]], left_out: Sequence[str]) -> Table:
    """An id is never cut."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
    for field in rows[0]:
        if field.label not in left_out:
            table.add_column(field.label, no_wrap=True)
    for row in rows:
        table.add_row(*(Text(printable(field.text), field.style) for field in row if field.label not in left_out))
    return table


def _show_fields(console: Console, fields: Sequence[Field]) -> None:
    """Print a line for each field that has a text.

    Sentences are wrapped; an id is left whole, for whoever copies it.
    """
    for field in fields:
        if field.text:
            room = max(console.width - _LABEL_WIDTH, _LABEL_WIDTH)
            lines = textwrap.wrap(printable(field.text), room, break_long_words=False, break_on_hyphens=False)
            value = f"\n{'':{_LABEL_WIDTH}}".join(lines)
            console.print(Text.assemble(f"{field.label:{_LABEL_WIDTH}}", (value, field.style)), soft_wrap=True)


def _moment(timestamp: str | None) -> str:
    return f"{timestamp[:19].replace('T', ' ')} UTC" if timestamp else ""


def printable(text: str) -> str:
    """The text without what a terminal would take for a command, or shows as another text."""
    # A provider's id or a user's may hold what a terminal would take for a command, or shows as another text.
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)

"""What `idv check` finds of the stored records: whether they hold, and which keys are in use."""

from __future__ import annotations

from app.operator.finding import Finding
from app.operator.report import printable
from app.storage.keeping import Examined, Keeper, KeysInUse, Progress

SAMPLE = 500
_MEND = (
    "See that ENCRYPTION_KEYS has every key that is in use. If it has, somebody has written to the database: find out "
    "who. `idv reset USER --identity` lets the user enrol anew."
)


async def check_records(keeper: Keeper, *, every: bool, show: Progress) -> list[Finding]:
    """Whether every record holds, and what the keys open; otherwise whether a sample does.

    In both, whether the audit's own keys can be opened.
    """
    records = _records(await keeper.examine_records(None if every else SAMPLE, show), every=every)
    erased = [_digest_key(name) for name in await keeper.unreadable_digest_keys()]
    return [records, *erased, *(_keys(await keeper.keys_in_use(show)) if every else [])]


def _records(examined: Examined, *, every: bool) -> Finding:
    which = f"{examined.looked_at}, all of them" if every or examined.looked_at < SAMPLE else f"the first {SAMPLE}"
    if not examined.not_authentic:
        return Finding("records", f"{which}, hold" + ("" if every else "; --records looks at all, and at the keys"))
    names = ", ".join(map(printable, examined.not_authentic))
    return Finding("records", f"{len(examined.not_authentic)} of {examined.looked_at} do not hold: {names}", _MEND)


def _digest_key(name: str) -> Finding:
    return Finding(
        f"keyring, {printable(name)}",
        "none of ENCRYPTION_KEYS opens it: nobody can tell whom it stands for, so nobody is imported or adopted",
        "Add the key that it was sealed with. If that is lost for good: docs/operations.md, The audit.",
    )


def _keys(found: KeysInUse) -> list[Finding]:
    idle = [
        Finding(
            f"ENCRYPTION_KEYS, number {number}",
            "opens nothing of what is stored; it can go, unless a backup needs it or it is the next one",
        )
        for number in found.idle
        if number > 1
    ]
    if not found.unreadable:
        return idle
    missing = f"{found.unreadable} that none of ENCRYPTION_KEYS opens"
    return [*idle, Finding("sealed values", missing, "Add the key that they were made with.")]

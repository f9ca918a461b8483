"""The tables, and how a moment is stored on each database."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    DateTime,
    Dialect,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    literal_column,
    text,
)
from sqlalchemy.types import TypeEngine


class UtcTimestamp(TypeDecorator[datetime]):
    """A moment in UTC: `timestamptz`, or on SQLite a text that sorts. A text that is no moment reads as None."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """The column type of the database at hand."""
        return dialect.type_descriptor(String(32) if dialect.name == "sqlite" else DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """To the database; a naive moment is a bug, and `astimezone` would hide it."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a moment without a time zone")
        moment = value.astimezone(UTC)
        return moment.isoformat(timespec="microseconds") if dialect.name == "sqlite" else moment

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """From the database."""
        if value is None:
            return None
        if isinstance(value, datetime):
            # timestamptz comes as an aware datetime, but for infinity, which comes as a naive one.
            return value if value.tzinfo else value.replace(tzinfo=UTC)
        try:
            moment = datetime.fromisoformat(value)
            return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        except (TypeError, ValueError, OverflowError):
            return None


# Constraint names are fixed, so that migrations can name them on every database.
METADATA = MetaData(naming_convention={"pk": "pk_%(table_name)s", "ck": "ck_%(table_name)s_%(constraint_name)s"})

# What is on file about a user. `revision` counts the writes; a row of revision 0 is only a lock. `stamp` changes with
# each write and each attempt that begins: a decision from a reading is put on file only where it is still the same. The
# other columns are for people who ask the database: what counts is in `sealed_record`, and all are compared with it.
users = Table(
    "users",
    METADATA,
    Column("user_id", String(255), primary_key=True),
    Column("revision", Integer, nullable=False),
    Column("completed", Boolean(name="completed_is_boolean", create_constraint=True)),
    Column("completed_at", UtcTimestamp()),
    Column("interview_id", Text),
    Column("identity_id", Text),
    Column("error", Text),
    Column("sealed_record", LargeBinary),
    Column("stamp", String(32)),
    Index("ix_users_locks", "user_id", postgresql_where=text("revision = 0"), sqlite_where=text("revision = 0")),
)
# A partial index serves only a condition that says the same with no parameter in it.
IS_ONLY_A_LOCK = users.c.revision == literal_column("0")

# One attempt. `sealed_request` is there until the code is exchanged, `sealed_answer` from then on. In the hosted flow
# `sealed_outcome` waits for its confirmation, `sealed_return` is where the browser was sent back to with its token, and
# `sealed_way_back` is where it came from. `clear_at` says when the sealed values have served their time.
verifications = Table(
    "verifications",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("user_id", String(255), nullable=False),
    Column("flow", String(16), nullable=False),
    Column("purpose", String(16), nullable=False),
    Column("status", String(16), nullable=False),
    Column("started_by", String(255), nullable=False),
    Column("finished_by", String(255)),
    Column("created_at", UtcTimestamp(), nullable=False),
    Column("expires_at", UtcTimestamp(), nullable=False),
    Column("exchange_started_at", UtcTimestamp()),
    Column("returned_at", UtcTimestamp()),
    Column("finished_at", UtcTimestamp()),
    Column("clear_at", UtcTimestamp()),
    Column("omit_state", Boolean, nullable=False),
    Column("counted", Boolean, nullable=False),
    Column("locale", String(64)),
    Column("callback_fingerprint", String(64)),
    Column("browser_digest", String(64)),
    Column("interview_id", Text),
    Column("identity_id", Text),
    Column("auth_overall_score", Text),
    Column("auth_overall_status", Text),
    Column("failure_code", String(64)),
    Column("failure_description", Text),
    Column("sealed_request", LargeBinary),
    Column("sealed_way_back", LargeBinary),
    Column("sealed_outcome", LargeBinary),
    Column("sealed_return", LargeBinary),
    Column("sealed_answer", LargeBinary),
    Index("ix_verifications_user_id_created_at_id", "user_id", "created_at", "id"),
    Index("ix_verifications_user_id_status_created_at_id", "user_id", "status", "created_at", "id"),
    Index("ix_verifications_identity_id_created_at_id", "identity_id", "created_at", "id"),
    Index("ix_verifications_status_created_at_id", "status", "created_at", "id"),
    Index("ix_verifications_created_at_id", "created_at", "id"),
    Index(
        "ix_verifications_counted",
        "user_id",
        "purpose",
        "created_at",
        postgresql_where=text("counted"),
        sqlite_where=text("counted = 1"),
    ),
    Index(
        "ix_verifications_clear_at",
        "clear_at",
        postgresql_where=text("clear_at IS NOT NULL"),
        sqlite_where=text("clear_at IS NOT NULL"),
    ),
)

# What administrators did. Of an erased user it keeps `user_digest` alone, which is keyed with `audit` of the keyring.
audit = Table(
    "audit",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("at", UtcTimestamp(), nullable=False),
    Column("action", String(32), nullable=False),
    Column("by", String(255), nullable=False),
    Column("user_id", String(255)),
    Column("user_digest", String(64)),
    Column("request_id", String(128)),
    Index("ix_audit_at_id", "at", "id"),
    Index("ix_audit_action_at_id", "action", "at", "id"),
    Index("ix_audit_user_id_at_id", "user_id", "at", "id"),
    Index("ix_audit_user_digest_at_id", "user_digest", "at", "id"),
)

# Keys that the service has made for itself, sealed with ENCRYPTION_KEYS.
keyring = Table(
    "keyring",
    METADATA,
    Column("name", String(64), primary_key=True),
    Column("sealed_key", LargeBinary, nullable=False),
)

# Work that one process at a time does: who does it, and until when the others leave it alone.
leases = Table(
    "leases",
    METADATA,
    Column("name", String(64), primary_key=True),
    Column("holder", String(64), nullable=False),
    Column("held_until", UtcTimestamp(), nullable=False),
)

SEALED = (
    (users, users.c.user_id, (users.c.sealed_record,)),
    (
        verifications,
        verifications.c.id,
        (
            verifications.c.sealed_request,
            verifications.c.sealed_way_back,
            verifications.c.sealed_outcome,
            verifications.c.sealed_return,
            verifications.c.sealed_answer,
        ),
    ),
    (keyring, keyring.c.name, (keyring.c.sealed_key,)),
)
"""Every table that has sealed values, its key, and the columns that hold them."""

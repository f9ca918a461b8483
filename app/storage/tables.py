"""The tables, and how a moment is stored on each database."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Boolean, DateTime, Dialect, Index, Integer, LargeBinary, MetaData, String, Text, TypeDecorator
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
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
        if dialect.name != "sqlite" or value is None:
            return value  # type: ignore[no-any-return]  # timestamptz comes as an aware datetime
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            return None
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


class Base(DeclarativeBase):
    """The tables. Constraint names are fixed, so that migrations can name them on every database."""

    metadata = MetaData(naming_convention={"pk": "pk_%(table_name)s", "ck": "ck_%(table_name)s_%(constraint_name)s"})
    type_annotation_map = {datetime: UtcTimestamp(), str: Text(), bytes: LargeBinary()}  # noqa: RUF012  read once by the mapper


class UserRow(Base):
    """What is on file about a user. `revision` counts the writes; a row of revision 0 is only a lock."""

    __tablename__ = "users"

    user_id: Mapped[str] = mapped_column(String(255), primary_key=True)
    revision: Mapped[int] = mapped_column(Integer, default=0)
    completed: Mapped[bool | None] = mapped_column(Boolean(name="completed_is_boolean", create_constraint=True))
    completed_at: Mapped[datetime | None]
    interview_id: Mapped[str | None]
    identity_id: Mapped[str | None]
    error: Mapped[str | None]
    sealed_evidence: Mapped[bytes | None]
    reset_at: Mapped[datetime | None]


class VerificationRow(Base):
    """One attempt. `sealed_request` is there until the code is exchanged, `sealed_answer` from then on.

    In the hosted flow `sealed_outcome` waits for its confirmation, and `sealed_return` is where the browser was sent back to.
    """

    __tablename__ = "verifications"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    user_id: Mapped[str] = mapped_column(String(255))
    flow: Mapped[str] = mapped_column(String(16))
    purpose: Mapped[str] = mapped_column(String(16))
    status: Mapped[str] = mapped_column(String(16))
    started_by: Mapped[str] = mapped_column(String(255))
    finished_by: Mapped[str | None] = mapped_column(String(255))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    exchange_started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    callback_fingerprint: Mapped[str | None] = mapped_column(String(64))
    interview_id: Mapped[str | None]
    identity_id: Mapped[str | None]
    auth_overall_score: Mapped[str | None]
    auth_overall_status: Mapped[str | None]
    failure_code: Mapped[str | None] = mapped_column(String(64))
    failure_description: Mapped[str | None]
    browser_digest: Mapped[str | None] = mapped_column(String(64))
    returned_at: Mapped[datetime | None]
    sealed_request: Mapped[bytes | None]
    sealed_outcome: Mapped[bytes | None]
    sealed_return: Mapped[bytes | None]
    sealed_answer: Mapped[bytes | None]

    __table_args__ = (
        Index("ix_verifications_user_id_created_at", "user_id", "created_at"),
        Index("ix_verifications_created_at_id", "created_at", "id"),
    )

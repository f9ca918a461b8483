"""Users' records, their verification attempts, what administrators did, and what the service keeps for itself."""

import sqlalchemy as sa
from alembic import op

revision = "2026112601"
down_revision = None
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True).with_variant(sa.String(32), "sqlite")
ONLY_LOCKS = sa.text("revision = 0")
COUNTED = sa.text("counted")
TO_BE_CLEARED = sa.text("clear_at IS NOT NULL")


def upgrade() -> None:
    op.create_table(
        "users",
        sa.Column("user_id", sa.String(255), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("completed", sa.Boolean(name="completed_is_boolean", create_constraint=True), nullable=True),
        sa.Column("completed_at", MOMENT, nullable=True),
        sa.Column("interview_id", sa.Text(), nullable=True),
        sa.Column("identity_id", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("sealed_record", sa.LargeBinary(), nullable=True),
        sa.Column("stamp", sa.String(32), nullable=True),
        sa.PrimaryKeyConstraint("user_id", name="pk_users"),
    )
    op.create_index("ix_users_locks", "users", ["user_id"], postgresql_where=ONLY_LOCKS, sqlite_where=ONLY_LOCKS)
    op.create_table(
        "verifications",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("user_id", sa.String(255), nullable=False),
        sa.Column("flow", sa.String(16), nullable=False),
        sa.Column("purpose", sa.String(16), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("started_by", sa.String(255), nullable=False),
        sa.Column("finished_by", sa.String(255), nullable=True),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("expires_at", MOMENT, nullable=False),
        sa.Column("exchange_started_at", MOMENT, nullable=True),
        sa.Column("returned_at", MOMENT, nullable=True),
        sa.Column("finished_at", MOMENT, nullable=True),
        sa.Column("clear_at", MOMENT, nullable=True),
        sa.Column("omit_state", sa.Boolean(), nullable=False),
        sa.Column("counted", sa.Boolean(), nullable=False),
        sa.Column("locale", sa.String(64), nullable=True),
        sa.Column("callback_fingerprint", sa.String(64), nullable=True),
        sa.Column("browser_digest", sa.String(64), nullable=True),
        sa.Column("interview_id", sa.Text(), nullable=True),
        sa.Column("identity_id", sa.Text(), nullable=True),
        sa.Column("auth_overall_score", sa.Text(), nullable=True),
        sa.Column("auth_overall_status", sa.Text(), nullable=True),
        sa.Column("failure_code", sa.String(64), nullable=True),
        sa.Column("failure_description", sa.Text(), nullable=True),
        sa.Column("sealed_request", sa.LargeBinary(), nullable=True),
        sa.Column("sealed_way_back", sa.LargeBinary(), nullable=True),
        sa.Column("sealed_outcome", sa.LargeBinary(), nullable=True),
        sa.Column("sealed_return", sa.LargeBinary(), nullable=True),
        sa.Column("sealed_answer", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_verifications"),
    )
    for columns in (("user_id",), ("user_id", "status"), ("identity_id",), ("status",), ()):
        name = "_".join(["ix_verifications", *columns, "created_at_id"])
        op.create_index(name, "verifications", [*columns, "created_at", "id"])
    op.create_index(
        "ix_verifications_counted",
        "verifications",
        ["user_id", "purpose", "created_at"],
        postgresql_where=COUNTED,
        sqlite_where=sa.text("counted = 1"),
    )
    op.create_index(
        "ix_verifications_clear_at",
        "verifications",
        ["clear_at"],
        postgresql_where=TO_BE_CLEARED,
        sqlite_where=TO_BE_CLEARED,
    )
    op.create_table(
        "audit",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("action", sa.String(32), nullable=False),
        sa.Column("by", sa.String(255), nullable=False),
        sa.Column("user_id", sa.String(255), nullable=True),
        sa.Column("user_digest", sa.String(64), nullable=True),
        sa.Column("request_id", sa.String(128), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_audit"),
    )
    for columns in (("action",), ("user_id",), ("user_digest",), ()):
        op.create_index("_".join(["ix_audit", *columns, "at_id"]), "audit", [*columns, "at", "id"])
    op.create_table(
        "keyring",
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("sealed_key", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_keyring"),
    )
    op.create_table(
        "leases",
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("holder", sa.String(64), nullable=False),
        sa.Column("held_until", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_leases"),
    )


def downgrade() -> None:
    for table in ("leases", "keyring", "audit", "verifications", "users"):
        op.drop_table(table)

"""Users' records and their verification attempts."""

import sqlalchemy as sa
from alembic import op

from app.storage.tables import UtcTimestamp

revision = "2026112301"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "users",
        sa.Column("user_id", sa.String(255), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("completed", sa.Boolean(name="completed_is_boolean", create_constraint=True), nullable=True),
        sa.Column("completed_at", UtcTimestamp(), nullable=True),
        sa.Column("interview_id", sa.Text(), nullable=True),
        sa.Column("identity_id", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("sealed_evidence", sa.LargeBinary(), nullable=True),
        sa.Column("reset_at", UtcTimestamp(), nullable=True),
        sa.PrimaryKeyConstraint("user_id", name="pk_users"),
    )
    op.create_table(
        "verifications",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("user_id", sa.String(255), nullable=False),
        sa.Column("flow", sa.String(16), nullable=False),
        sa.Column("purpose", sa.String(16), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("started_by", sa.String(255), nullable=False),
        sa.Column("finished_by", sa.String(255), nullable=True),
        sa.Column("created_at", UtcTimestamp(), nullable=False),
        sa.Column("expires_at", UtcTimestamp(), nullable=False),
        sa.Column("exchange_started_at", UtcTimestamp(), nullable=True),
        sa.Column("finished_at", UtcTimestamp(), nullable=True),
        sa.Column("callback_fingerprint", sa.String(64), nullable=True),
        sa.Column("interview_id", sa.Text(), nullable=True),
        sa.Column("identity_id", sa.Text(), nullable=True),
        sa.Column("auth_overall_score", sa.Text(), nullable=True),
        sa.Column("auth_overall_status", sa.Text(), nullable=True),
        sa.Column("failure_code", sa.String(64), nullable=True),
        sa.Column("failure_description", sa.Text(), nullable=True),
        sa.Column("browser_digest", sa.String(64), nullable=True),
        sa.Column("returned_at", UtcTimestamp(), nullable=True),
        sa.Column("sealed_request", sa.LargeBinary(), nullable=True),
        sa.Column("sealed_outcome", sa.LargeBinary(), nullable=True),
        sa.Column("sealed_return", sa.LargeBinary(), nullable=True),
        sa.Column("sealed_answer", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_verifications"),
    )
    op.create_index("ix_verifications_user_id_created_at", "verifications", ["user_id", "created_at"])
    op.create_index("ix_verifications_created_at_id", "verifications", ["created_at", "id"])


def downgrade() -> None:
    op.drop_table("verifications")
    op.drop_table("users")

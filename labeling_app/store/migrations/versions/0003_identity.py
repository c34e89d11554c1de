"""Who a person is at the provider of OpenID Connect."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "identity",
        sa.Column("person_id", sa.Integer(), nullable=False),
        sa.Column("email", sa.String(length=320), nullable=True),
        sa.Column("issuer", sa.String(length=500), nullable=True),
        sa.Column("subject", sa.String(length=255), nullable=True),
        sa.Column("created", sa.String(length=27), nullable=False),
        sa.CheckConstraint("(issuer IS NULL) = (subject IS NULL)", name="linked"),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name="fk_identity_person_id"),
        sa.PrimaryKeyConstraint("person_id", name="pk_identity"),
        sa.UniqueConstraint("email", name="uq_identity_email"),
        sa.UniqueConstraint("issuer", "subject", name="uq_identity_issuer_subject"),
    )

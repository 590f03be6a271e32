"""A hospital's records of its federated rounds."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "federation_departures",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("federation", sa.String(length=120), nullable=False),
        sa.Column("run", sa.String(length=200), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("stage", sa.String(length=20), nullable=False),
        sa.Column("what", sa.String(length=200), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("terms_digest", sa.String(length=64), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_federation_departures")),
        sa.UniqueConstraint(
            "federation", "run", "round", "stage", "what", "digest", name=op.f("uq_federation_departures_federation")
        ),
    )
    with op.batch_alter_table("federation_departures", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_federation_departures_at"), ["at"], unique=False)

    op.create_table(
        "federation_participation",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("federation", sa.String(length=120), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_federation_participation")),
    )
    with op.batch_alter_table("federation_participation", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_federation_participation_federation"), ["federation"], unique=False)

    op.create_table(
        "federation_refusals",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("federation", sa.String(length=120), nullable=False),
        sa.Column("run", sa.String(length=200), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("terms_digest", sa.String(length=64), nullable=False),
        sa.Column("rules", sa.String(length=400), nullable=False),
        sa.Column("findings", sa.JSON(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("first_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_federation_refusals")),
        sa.UniqueConstraint(
            "federation", "run", "round", "terms_digest", "rules", name=op.f("uq_federation_refusals_federation")
        ),
    )
    with op.batch_alter_table("federation_refusals", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_federation_refusals_last_at"), ["last_at"], unique=False)

    op.create_table(
        "federation_rounds",
        sa.Column("federation", sa.String(length=120), nullable=False),
        sa.Column("run", sa.String(length=200), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("terms_digest", sa.String(length=64), nullable=False),
        sa.Column("outcome", sa.String(length=20), nullable=False),
        sa.Column("model", sa.String(length=64), nullable=False),
        sa.Column("participants", sa.Integer(), nullable=False),
        sa.Column("rule", sa.String(length=20), nullable=False),
        sa.Column("strategy", sa.String(length=20), nullable=False),
        sa.Column("preset", sa.String(length=80), nullable=False),
        sa.Column("policy_digest", sa.String(length=64), nullable=True),
        sa.Column("cohort_digest", sa.String(length=64), nullable=True),
        sa.Column("cases", sa.Integer(), nullable=True),
        sa.Column("left_out", sa.JSON(), nullable=True),
        sa.Column("first_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("federation", "run", "round", name=op.f("pk_federation_rounds")),
    )
    with op.batch_alter_table("federation_rounds", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_federation_rounds_last_at"), ["last_at"], unique=False)

    op.create_table(
        "federation_spendings",
        sa.Column("federation", sa.String(length=120), nullable=False),
        sa.Column("run", sa.String(length=200), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("what", sa.String(length=20), nullable=False),
        sa.Column("terms_digest", sa.String(length=64), nullable=False),
        sa.Column("epsilon", sa.Float(), nullable=False),
        sa.Column("delta", sa.Float(), nullable=False),
        sa.Column("noise", sa.Float(), nullable=False),
        sa.Column("sample_rate", sa.Float(), nullable=False),
        sa.Column("steps", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("federation", "run", "round", "what", name=op.f("pk_federation_spendings")),
    )
    with op.batch_alter_table("federation_spendings", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_federation_spendings_at"), ["at"], unique=False)


def downgrade() -> None:
    with op.batch_alter_table("federation_spendings", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_federation_spendings_at"))

    op.drop_table("federation_spendings")
    with op.batch_alter_table("federation_rounds", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_federation_rounds_last_at"))

    op.drop_table("federation_rounds")
    with op.batch_alter_table("federation_refusals", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_federation_refusals_last_at"))

    op.drop_table("federation_refusals")
    with op.batch_alter_table("federation_participation", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_federation_participation_federation"))

    op.drop_table("federation_participation")
    with op.batch_alter_table("federation_departures", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_federation_departures_at"))

    op.drop_table("federation_departures")

"""owed"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "owed_lines",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("question", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("stanza_id", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("said_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["question"], ["questions.id"], name=op.f("fk_owed_lines_question"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_owed_lines")),
        sa.UniqueConstraint("stanza_id", name=op.f("uq_owed_lines_stanza_id")),
    )
    op.create_index("ix_owed_lines_question", "owed_lines", ["question"], unique=False)
    op.create_index(
        "ix_question_messages_to_do",
        "question_messages",
        ["question"],
        unique=False,
        sqlite_where=sa.text("relay = 0"),
        postgresql_where=sa.text("relay = 0"),
    )


def downgrade() -> None:
    op.drop_index(
        "ix_question_messages_to_do",
        table_name="question_messages",
        sqlite_where=sa.text("relay = 0"),
        postgresql_where=sa.text("relay = 0"),
    )
    op.drop_index("ix_owed_lines_question", table_name="owed_lines")
    op.drop_table("owed_lines")

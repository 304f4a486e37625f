"""Second factors, keys with scopes and parents, resets, idle sign-out; projects of members."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

MADE_FROM = ("session", "key", "machine")


def upgrade() -> None:
    op.add_column("people", sa.Column("totp_secret", sa.Text()))
    op.add_column("people", sa.Column("totp_step", sa.BigInteger()))
    op.add_column("people", sa.Column("second_factor_at", sa.DateTime(timezone=True)))
    op.add_column(
        "login_sessions",
        sa.Column("seen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
    )
    op.create_table(
        "recovery_codes",
        sa.Column("code_hash", sa.String(64), nullable=False),
        sa.Column("person_id", sa.UUID(), sa.ForeignKey("people.id"), nullable=False),
        sa.PrimaryKeyConstraint("code_hash", name=op.f("pk_recovery_codes")),
    )
    op.create_index(op.f("ix_recovery_codes_person_id"), "recovery_codes", ["person_id"])
    op.create_table(
        "password_resets",
        sa.Column("token_hash", sa.String(64), nullable=False),
        sa.Column("person_id", sa.UUID(), sa.ForeignKey("people.id"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_password_resets")),
    )
    op.create_index(op.f("ix_password_resets_person_id"), "password_resets", ["person_id"])
    _keys()
    _members()


def _keys() -> None:
    """Keys of people with a password were made in their sessions, for all that anybody knows; they may do everything."""
    op.add_column("api_keys", sa.Column("scopes", postgresql.JSONB()))
    op.add_column(
        "api_keys", sa.Column("parent_id", sa.UUID(), sa.ForeignKey("api_keys.id", name="fk_api_keys_parent_id_api_keys"))
    )
    op.create_index(op.f("ix_api_keys_parent_id"), "api_keys", ["parent_id"])
    op.add_column(
        "api_keys",
        sa.Column(
            "made_from",
            sa.Enum(*MADE_FROM, name="madefrom", native_enum=False, create_constraint=True),
            server_default="machine",
            nullable=False,
        ),
    )
    op.execute(
        "UPDATE api_keys SET made_from = 'session' FROM people "
        "WHERE people.id = api_keys.person_id AND people.password_hash <> '!'"
    )


def _members() -> None:
    """Projects that exist stay open to everybody; whoever made one is a member of it."""
    op.add_column("projects", sa.Column("open", sa.Boolean(), server_default=sa.text("true"), nullable=False))
    op.create_table(
        "project_members",
        sa.Column("project_id", sa.UUID(), sa.ForeignKey("projects.id"), nullable=False),
        sa.Column("person_id", sa.UUID(), sa.ForeignKey("people.id"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("project_id", "person_id", name=op.f("pk_project_members")),
    )
    op.create_index(op.f("ix_project_members_person_id"), "project_members", ["person_id"])
    op.execute("INSERT INTO project_members (project_id, person_id) SELECT id, created_by FROM projects")


def downgrade() -> None:
    op.drop_table("project_members")
    op.drop_column("projects", "open")
    for column in ("made_from", "parent_id", "scopes"):
        op.drop_column("api_keys", column)
    op.drop_table("password_resets")
    op.drop_table("recovery_codes")
    op.drop_column("login_sessions", "seen_at")
    for column in ("second_factor_at", "totp_step", "totp_secret"):
        op.drop_column("people", column)

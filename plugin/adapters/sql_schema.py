"""The tables. migrations/ makes them; a test holds the two against each other."""

from datetime import UTC, datetime

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)

from governance.adapters.ledger_schema import define_ledger


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC time; SQLite keeps no zone, so it is added when read."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """To UTC."""
        return value.astimezone(UTC) if value else None

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """From UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
    }
)

analyses = Table(
    "analyses",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("state", String(20), nullable=False, index=True),
    Column("step", String(20)),
    Column("progress", Float, nullable=False),
    Column("reason_code", String(80)),
    Column("reason", Text),
    Column("imaging_study_reference", String(300), index=True),
    Column("study_instance_uid", String(64), index=True),
    # NULL for duplicates: the unique constraint is what makes each work run once.
    Column("work_key", String(64), unique=True),
    Column("model_version", String(80)),
    Column("patient", JSON),
    Column("accession_number", String(64)),
    Column("study_date", String(32)),
    Column("study_description", Text),
    Column("requested_by", String(120), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("created_at", UtcDateTime, nullable=False, index=True),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("finished_at", UtcDateTime),
    Column("duplicate_of", String(32)),
    Column("result", JSON),
    Column("review", JSON),
    Column("owner", String(64)),
    Column("lease_until", UtcDateTime),
    Column("due_at", UtcDateTime, nullable=False),
    # When a worker was last told of it: the timer does not tell again at every tick.
    Column("hinted_at", UtcDateTime),
)

events = Table(
    "events",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("subscription", String(80), nullable=False),
    Column("event_key", String(300), nullable=False),
    Column("state", String(20), nullable=False),
    Column("detail", Text, nullable=False),
    Column("analysis_id", String(32), ForeignKey("analyses.id")),
    Column("received_at", UtcDateTime, nullable=False, index=True),
    Column("count", Integer, nullable=False),
    UniqueConstraint("subscription", "event_key"),
)

steps = Table(
    "steps",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("analysis_id", String(32), ForeignKey("analyses.id"), nullable=False, index=True),
    Column("step", String(20), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("finished_at", UtcDateTime),
)

artefacts = Table(
    "artefacts",
    metadata,
    Column("analysis_id", String(32), ForeignKey("analyses.id"), primary_key=True),
    Column("name", String(80), primary_key=True),
    Column("media_type", String(80), nullable=False),
    Column("content", LargeBinary, nullable=False),
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("analysis_id", String(32), ForeignKey("analyses.id"), nullable=False),
    Column("kind", String(20), nullable=False),
    Column("state", String(20), nullable=False),
    Column("destination", String(300), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_attempt_at", UtcDateTime, nullable=False),
    Column("last_error", Text),
    Column("sent_at", UtcDateTime),
    Column("receipt", JSON),
    Column("owner", String(64)),
    Column("lease_until", UtcDateTime),
    Column("hinted_at", UtcDateTime),
    UniqueConstraint("analysis_id", "kind"),
    Index("ix_deliveries_due", "state", "next_attempt_at"),
)

subscriptions = Table(
    "subscriptions",
    metadata,
    Column("name", String(80), primary_key=True),
    Column("kind", String(20), nullable=False),
    Column("criteria", Text, nullable=False),
    Column("payload", String(20), nullable=False),
    Column("fhir_reference", String(200)),
    Column("secret_digest", String(64), nullable=False),
    Column("status", String(20), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("last_seen_at", UtcDateTime),
    Column("last_event_number", Integer),
    Column("last_error", Text),
    Column("searched_until", UtcDateTime),
)

users = Table(
    "users",
    metadata,
    Column("username", String(80), primary_key=True),
    Column("display_name", String(120), nullable=False),
    Column("role", String(20), nullable=False),
    Column("practitioner_reference", String(200)),
    Column("password_hash", String(200), nullable=False),
)

tokens = Table(
    "tokens",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("username", String(80), ForeignKey("users.username"), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)

federation_rounds = Table(
    "federation_rounds",
    metadata,
    Column("federation", String(120), primary_key=True),
    Column("run", String(200), primary_key=True),
    Column("round", Integer, primary_key=True),
    Column("terms_digest", String(64), nullable=False),
    Column("outcome", String(20), nullable=False),
    Column("model", String(64), nullable=False),
    Column("participants", Integer, nullable=False),
    Column("rule", String(20), nullable=False),
    Column("strategy", String(20), nullable=False),
    Column("preset", String(80), nullable=False),
    # Of the policy that the terms were held against: an edited policy shows.
    Column("policy_digest", String(64)),
    # Keyed: whose cases they are cannot be told from it.
    Column("cohort_digest", String(64)),
    Column("cases", Integer),
    Column("left_out", JSON),
    Column("first_at", UtcDateTime, nullable=False),
    Column("last_at", UtcDateTime, nullable=False, index=True),
)

federation_spendings = Table(
    "federation_spendings",
    metadata,
    # The primary key is what makes each release of a round cost once.
    Column("federation", String(120), primary_key=True),
    Column("run", String(200), primary_key=True),
    Column("round", Integer, primary_key=True),
    Column("what", String(20), primary_key=True),
    Column("terms_digest", String(64), nullable=False),
    Column("epsilon", Float, nullable=False),
    Column("delta", Float, nullable=False),
    Column("noise", Float, nullable=False),
    Column("sample_rate", Float, nullable=False),
    Column("steps", Integer, nullable=False),
    # Never before an earlier one, whatever the clock says.
    Column("at", UtcDateTime, nullable=False, index=True),
)

federation_departures = Table(
    "federation_departures",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("federation", String(120), nullable=False),
    Column("run", String(200), nullable=False),
    Column("round", Integer, nullable=False),
    Column("stage", String(20), nullable=False),
    Column("what", String(200), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("terms_digest", String(64), nullable=False),
    Column("at", UtcDateTime, nullable=False, index=True),
    UniqueConstraint("federation", "run", "round", "stage", "what", "digest"),
)

federation_refusals = Table(
    "federation_refusals",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("federation", String(120), nullable=False),
    Column("run", String(200), nullable=False),
    Column("round", Integer, nullable=False),
    Column("terms_digest", String(64), nullable=False),
    Column("rules", String(400), nullable=False),
    Column("findings", JSON, nullable=False),
    Column("count", Integer, nullable=False),
    Column("first_at", UtcDateTime, nullable=False),
    Column("last_at", UtcDateTime, nullable=False, index=True),
    UniqueConstraint("federation", "run", "round", "terms_digest", "rules"),
)

# Rows are added, never changed: the last one of a federation counts.
federation_participation = Table(
    "federation_participation",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("federation", String(120), nullable=False, index=True),
    Column("state", String(20), nullable=False),
    Column("reason", Text, nullable=False),
    Column("at", UtcDateTime, nullable=False),
)

ledger = define_ledger(metadata)

# Governance. A row of officer_acts, audits, governance_reports and policies is added, never changed.
officers = Table(
    "officers",
    metadata,
    Column("username", String(80), ForeignKey("users.username"), primary_key=True),
    Column("public_key", LargeBinary, nullable=False),
    # PKCS #8, encrypted with the officer's own passphrase.
    Column("encrypted_key", LargeBinary, nullable=False),
    Column("enrolled_at", UtcDateTime, nullable=False),
    Column("revoked_at", UtcDateTime),
)

officer_acts = Table(
    "officer_acts",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("act", String(40), nullable=False),
    # What it is about: a model version, a policy's digest, a report's digest, ...
    Column("subject", String(80), nullable=False, index=True),
    Column("username", String(80), nullable=False),
    Column("role", String(20), nullable=False),
    # The canonical bytes that were signed.
    Column("document", LargeBinary, nullable=False),
    Column("signature", LargeBinary, nullable=False),
    Column("at", UtcDateTime, nullable=False),
)

model_states = Table(
    "model_states",
    metadata,
    Column("model_version", String(80), primary_key=True),
    Column("state", String(20), nullable=False),
    Column("reason_code", String(80), nullable=False),
    Column("reason", Text, nullable=False),
    Column("audit_digest", String(64)),
    Column("since", UtcDateTime, nullable=False),
)

audits = Table(
    "audits",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("model_version", String(80), nullable=False, index=True),
    Column("outcome", String(30), nullable=False),
    Column("policy_digest", String(64), nullable=False),
    Column("document", LargeBinary, nullable=False),
    Column("at", UtcDateTime, nullable=False),
)

observations = Table(
    "observations",
    metadata,
    Column("analysis_id", String(32), ForeignKey("analyses.id"), primary_key=True),
    Column("model_version", String(80), nullable=False),
    # Groups by attribute, e.g. {"sex": "F", "age": "40-59", "site": "..."}; what is unknown is left out.
    Column("groups", JSON, nullable=False),
    # What drift is looked for in, by name.
    Column("features", JSON, nullable=False),
    Column("confidence", Float, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    # NULL until a radiologist has decided.
    Column("accepted", Integer),
    Column("reviewed_at", UtcDateTime),
    Index("ix_observations_model", "model_version", "at"),
)

governance_reports = Table(
    "governance_reports",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("kind", String(40), nullable=False),
    Column("period", String(80), nullable=False),
    Column("summary", JSON, nullable=False),
    Column("html", LargeBinary, nullable=False),
    Column("pdf", LargeBinary, nullable=False),
    Column("at", UtcDateTime, nullable=False, index=True),
)

policies = Table(
    "policies",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("text", Text, nullable=False),
    Column("at", UtcDateTime, nullable=False),
)

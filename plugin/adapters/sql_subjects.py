"""SubjectStore in SQL: a patient's rows are found by the patient's identifier and by the studies that it leads to."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Column, ColumnElement, Connection, Engine, Table, delete, func, insert, or_, select

from governance.ledger.entries import Entry
from plugin.adapters import sql_engine
from plugin.adapters.sql_journal import record_within
from plugin.adapters.sql_schema import analyses, artefacts, deliveries, metadata, officer_acts
from plugin.services.governance.subjects import Holdings, Sent
from plugin.services.governance.values import SignedAct
from plugin.services.values import AnalysisState, DeliveryState

_PAGE: Final = 400
"""Below SQLite's limit of variables."""
_SHOWN: Final = (
    "id",
    "state",
    "reason",
    "imaging_study_reference",
    "study_instance_uid",
    "model_version",
    "patient",
    "accession_number",
    "study_date",
    "study_description",
    "requested_by",
    "created_at",
    "finished_at",
    "result",
    "review",
)


class SqlSubjects:
    """What is held on a patient. Parameters are in no error and no log; see sql_engine.connect."""

    def __init__(self, engine: Engine) -> None:
        """Use a database whose schema is current."""
        self._engine = engine

    def find(self, patient_id: str) -> Holdings:
        """Everything that is held on a patient."""
        with self._engine.connect().execution_options(**sql_engine.READ_ONLY) as connection:
            ids = _analyses_of(connection, patient_id)
            rows = {table.name: _count(connection, column, ids) for table, column in _tables()}
            return Holdings(
                analyses=[_shown(row) for row in _select(connection, analyses, analyses.c.id, ids)],
                rows={**rows, analyses.name: len(ids)},
                file_bytes=_file_bytes(connection, ids),
                sent=[
                    Sent(row["kind"], row["destination"], row["receipt"] or {}, row["sent_at"])
                    for row in _select(connection, deliveries, deliveries.c.analysis_id, ids)
                    if row["state"] == DeliveryState.SENT
                ],
                first_accepted=_first_accepted(connection, ids),
            )

    def erase(
        self, patient_id: str, *, act: SignedAct, entries: Callable[[Sequence[str], Mapping[str, int]], Sequence[Entry]]
    ) -> Mapping[str, int]:
        """Remove everything that is held on a patient, with the act and its entries, all or none."""
        with self._engine.begin() as connection:
            if connection.dialect.name == "sqlite":
                # What is deleted is overwritten, not only unlinked.
                connection.exec_driver_sql("PRAGMA secure_delete = ON")
            ids = _analyses_of(connection, patient_id)
            if not ids:
                return {}
            removed = {table.name: _delete(connection, column, ids) for table, column in _tables()}
            removed[analyses.name] = _delete(connection, analyses.c.id, ids)
            values = {name: getattr(act, name) for name in act.__dataclass_fields__}
            connection.execute(insert(officer_acts).values(**values))
            record_within(connection, entries(ids, removed))
        self._forget_old_pages()
        return removed

    def _forget_old_pages(self) -> None:
        """SQLite's journal still has the pages as they were; it is emptied, unless somebody is reading it."""
        if self._engine.dialect.name != "sqlite":
            return
        connection = self._engine.raw_connection()
        try:
            cursor = connection.cursor()
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            cursor.close()
        finally:
            connection.close()


def _tables() -> Iterator[tuple[Table, Column[Any]]]:
    """Every table whose rows belong to an analysis, and the column that says so: new ones are found by themselves."""
    for table in metadata.sorted_tables:
        for column in table.columns:
            if any(key.column is analyses.c.id for key in column.foreign_keys):
                yield table, column


def _analyses_of(connection: Connection, patient_id: str) -> list[str]:
    """The patient's analyses, those of the same studies that were not told whose they are yet, and their duplicates."""
    columns = (analyses.c.id, analyses.c.study_instance_uid, analyses.c.imaging_study_reference)
    is_of_patient = analyses.c.patient["patient_id"].as_string() == patient_id
    found = {row.id: row for row in connection.execute(select(*columns).where(is_of_patient))}
    while True:
        uids = {row.study_instance_uid for row in found.values() if row.study_instance_uid}
        references = {row.imaging_study_reference for row in found.values() if row.imaging_study_reference}
        same = [
            *_in(analyses.c.study_instance_uid, uids),
            *_in(analyses.c.imaging_study_reference, references),
            *_in(analyses.c.duplicate_of, found),
        ]
        new = {
            row.id: row
            for condition in same
            for row in connection.execute(select(*columns).where(condition, _is_nobody_elses(patient_id)))
            if row.id not in found
        }
        if not new:
            return sorted(found)
        found |= new


def _is_nobody_elses(patient_id: str) -> ColumnElement[bool]:
    named = analyses.c.patient["patient_id"].as_string()
    return or_(analyses.c.patient.is_(None), named.is_(None), named == patient_id)


def _in(column: Column[Any], values: Any) -> Iterator[ColumnElement[bool]]:
    listed = sorted(values)
    return (column.in_(listed[start : start + _PAGE]) for start in range(0, len(listed), _PAGE))


def _select(
    connection: Connection, table: Table, column: Column[Any], ids: Sequence[str]
) -> Iterator[Mapping[str, Any]]:
    for condition in _in(column, ids):
        yield from map(dict, connection.execute(select(table).where(condition)).mappings())


def _count(connection: Connection, column: Column[Any], ids: Sequence[str]) -> int:
    return sum(connection.execute(select(func.count()).where(condition)).scalar_one() for condition in _in(column, ids))


def _delete(connection: Connection, column: Column[Any], ids: Sequence[str]) -> int:
    return sum(connection.execute(delete(column.table).where(condition)).rowcount for condition in _in(column, ids))


def _file_bytes(connection: Connection, ids: Sequence[str]) -> int:
    size = func.coalesce(func.sum(func.length(artefacts.c.content)), 0)
    return sum(
        int(connection.execute(select(size).where(condition)).scalar_one())
        for condition in _in(artefacts.c.analysis_id, ids)
    )


def _first_accepted(connection: Connection, ids: Sequence[str]) -> datetime | None:
    accepted = (
        row["finished_at"]
        for row in _select(connection, analyses, analyses.c.id, ids)
        if row["state"] == AnalysisState.ACCEPTED and row["finished_at"]
    )
    return min(accepted, default=None)


def _shown(row: Mapping[str, Any]) -> Mapping[str, Any]:
    return {name: value.isoformat() if isinstance(value := row[name], datetime) else value for name in _SHOWN}

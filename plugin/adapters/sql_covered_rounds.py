"""What a hospital's records of its federated rounds say was done."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import Any

from sqlalchemy import Select, select

from governance.ledger.completeness import Transaction, Unreadable
from governance.ledger.entries import Entry
from plugin.adapters.sql_budget import spent_entry
from plugin.adapters.sql_covered_rows import FAULTS, Found, SqlCoveredRows
from plugin.adapters.sql_rounds import check_entries, departure_entry, participation_entry, refusal_entry
from plugin.adapters.sql_schema import (
    federation_departures,
    federation_participation,
    federation_refusals,
    federation_rounds,
    federation_spendings,
)
from plugin.services.governance.round_journal import Place


class SqlRoundRows(SqlCoveredRows):
    """Rounds, departures, charges, refusals and participation."""

    def round_transactions(self) -> Found:
        """Table by table."""
        yield from self._rounds_checked()
        yield from self._departures()
        yield from self._charges()
        yield from self._refusals()
        yield from self._participation()

    def places(self, table: Any) -> AbstractSet[str]:
        """Digests of the rounds that a table has rows of."""
        rows = self._connection.execute(select(table.c.federation, table.c.run, table.c.round).distinct())
        return {Place(*row).digest for row in rows}

    def _rounds_checked(self) -> Found:
        table = federation_rounds
        checked = select(table).where(table.c.policy_digest.is_not(None))
        return self._read_rounds(checked, lambda row: check_entries(self._rounds, row), has_time=False)

    def _departures(self) -> Found:
        return self._read_rounds(
            select(federation_departures), lambda row: [departure_entry(self._rounds, row)], has_time=True
        )

    def _charges(self) -> Found:
        return self._read_rounds(select(federation_spendings), lambda row: [spent_entry(self._rounds, row)])

    def _refusals(self) -> Found:
        return self._read_rounds(select(federation_refusals), lambda row: [refusal_entry(self._rounds, row)])

    def _participation(self) -> Found:
        def make(row: Any) -> Iterator[Transaction]:
            entry = participation_entry(self._rounds, row._mapping)
            yield Transaction("federation_participation", str(row.id), entry)

        return self._read(select(federation_participation), federation_participation.c.id, make)

    def _read_rounds(
        self, query: Select[Any], make: Callable[[Mapping[str, Any]], Sequence[Entry]], *, has_time: bool = True
    ) -> Found:
        """Of a table of rounds; they are few, a site may have had another name, and their key has several columns."""
        (table,) = query.get_final_froms()
        name = str(getattr(table, "name", ""))
        try:
            made = [(f"{row['run']}, round {row['round']}", make(row)) for row in self._mappings(query)]
        except FAULTS:
            yield Unreadable(name, "(one of its rows)")
            return
        for place, entries in made:
            for entry in entries:
                facts = {fact: value for fact, value in entry.facts.items() if fact != "site"}
                yield Transaction(name, place, replace(entry, facts=facts), has_time=has_time)

    def _mappings(self, query: Select[Any]) -> Iterator[Mapping[str, Any]]:
        yield from ({**row} for row in self._connection.execute(query).mappings())

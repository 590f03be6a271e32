"""One suite over the ledger in memory, SQLite and PostgreSQL: order, repetition, many writers, and tampering by SQL."""

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from governance.adapters.sql_ledger import SqlLedger, create_ledger_tables
from governance.errors import EntryConflictError, LedgerNotOpenError, LedgerStoreError
from governance.ledger import log
from governance.ledger.cosignature import CosignerSigner
from governance.ledger.entries import parse_leaf
from governance.ledger.findings import Fault
from governance.ledger.merkle import leaf_hash, root_of, verify_consistency, verify_inclusion
from governance.ledger.verification import Trust, verify_ledger
from governance.ports import LedgerStore
from plugin.adapters import sql_engine
from tests.fakes.ledger_store import NOW, ORIGIN, InMemoryLedger, review
from tests.servers.postgres import postgres


@pytest.fixture(scope="session")
def ledger_postgres() -> Iterator[str]:
    with postgres() as url:
        yield url


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.server)])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    if request.param == "sqlite":
        engine = sql_engine.connect(f"sqlite:///{tmp_path}/qfl.db")
    else:
        engine = sql_engine.connect(request.getfixturevalue("ledger_postgres"))
        with engine.begin() as connection:
            connection.execute(text("DROP SCHEMA public CASCADE"))
            connection.execute(text("CREATE SCHEMA public"))
    sql_engine.migrate(engine)
    yield engine
    engine.dispose()


@pytest.fixture(params=["memory", "sqlite", pytest.param("postgresql", marks=pytest.mark.server)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LedgerStore]:
    if request.param == "memory":
        yield InMemoryLedger()
        return
    if request.param == "sqlite":
        engine = sql_engine.connect(f"sqlite:///{tmp_path}/ledger.db")
        create_ledger_tables(engine)
        create_ledger_tables(engine)  # harmless
    else:
        engine = sql_engine.connect(request.getfixturevalue("ledger_postgres"))
        with engine.begin() as connection:
            connection.execute(text("DROP SCHEMA public CASCADE"))
            connection.execute(text("CREATE SCHEMA public"))
        sql_engine.migrate(engine)
    yield SqlLedger(engine)
    engine.dispose()


@pytest.fixture
def signer(store: LedgerStore) -> CosignerSigner:
    signer = CosignerSigner.generate(ORIGIN)
    log.open_log(store, signer.public, now=NOW)
    return signer


def test_nothing_is_appended_before_the_log_has_a_name(store: LedgerStore) -> None:
    with pytest.raises(LedgerNotOpenError):
        log.append(store, [review(1)])


def test_a_log_keeps_its_first_name(store: LedgerStore, signer: CosignerSigner) -> None:
    store.open("another.example")
    log.open_log(store, CosignerSigner.generate("another.example").public, now=NOW)
    with store.snapshot() as view:
        assert (view.origin, view.size) == (ORIGIN, 1)


def test_entries_come_back_in_their_order(store: LedgerStore, signer: CosignerSigner) -> None:
    assert list(log.append(store, [review(1), review(2)])) == [1, 2]
    assert list(log.append(store, [review(3)])) == [3]
    assert list(log.append(store, [])) == []
    with store.snapshot() as view:
        assert view.size == 4
        rows = list(view.rows(2, 4))
        assert [row.leaf_index for row in rows] == [2, 3]
        assert parse_leaf(rows[0].leaf) == review(2)
        assert [row.leaf_index for row in view.rows_of_kind("review-decided")] == [1, 2, 3]
        assert [row.leaf_index for row in view.rows()] == [0, 1, 2, 3]


def test_a_repeated_transaction_is_one_entry(store: LedgerStore, signer: CosignerSigner) -> None:
    entry = review(1, key="review-1")
    assert list(log.append(store, [entry])) == [1]
    again = type(entry)(entry.kind, NOW.replace(year=2027), entry.facts, entry.key)  # told later
    assert list(log.append(store, [review(2), again, review(3), again])) == [2, 1, 3, 1]
    assert list(log.append(store, [again])) == [1]
    with store.snapshot() as view:
        assert view.size == 4
        found = view.row_of_key("review-1")
        assert found
        assert parse_leaf(found.leaf).at == entry.at
        assert view.row_of_key("review-2") is None


def test_a_repetition_within_one_append_is_one_entry(store: LedgerStore, signer: CosignerSigner) -> None:
    entry = review(1, key="review-1")
    assert list(log.append(store, [entry, entry])) == [1, 1]


def test_another_transaction_with_the_same_key_is_refused_whole(store: LedgerStore, signer: CosignerSigner) -> None:
    log.append(store, [review(1, key="review-1")])
    with pytest.raises(EntryConflictError):
        log.append(store, [review(2), review(3, key="review-1")])
    with store.snapshot() as view:
        assert view.size == 2


def test_proofs_hold_over_several_tiles(store: LedgerStore, signer: CosignerSigner) -> None:
    for start in range(1, 700, 233):
        log.append(store, [review(number) for number in range(start, start + 233)])
    signed = log.sign_checkpoint(store, signer, now=NOW)
    with store.snapshot() as view:
        leaves = [leaf_hash(row.leaf) for row in view.rows()]
        assert signed.head.size == len(leaves) == 700
        assert signed.head.root == root_of(leaves)
        for place in (0, 255, 256, 511, 699):
            path = log.prove_inclusion(view, place, 700)
            verify_inclusion(place, 700, leaves[place], path, signed.head.root)
        proof = log.prove_consistency(view, 300, 700)
        verify_consistency(300, 700, proof, root_of(leaves[:300]), signed.head.root)
        assert verify_ledger(view, Trust(signer.public)).is_intact
        assert list(view.checkpoints()) == [signed.text()]


def test_a_snapshot_does_not_see_what_is_appended_meanwhile(store: LedgerStore, signer: CosignerSigner) -> None:
    with store.snapshot() as view:
        assert view.size == 1
        log.append(store, [review(1)])
        assert len(list(view.rows())) == 1


def test_threads_share_commits_and_lose_nothing(store: LedgerStore, signer: CosignerSigner) -> None:
    if isinstance(store, InMemoryLedger):
        return  # it is for one thread
    with ThreadPoolExecutor(16) as pool:
        places = list(pool.map(lambda number: log.append(store, [review(number)])[0], range(1, 201)))
    assert sorted(places) == list(range(1, 201))
    with store.snapshot() as view:
        kept = {row.leaf_index: row.leaf for row in view.rows()}
        assert all(parse_leaf(kept[place]) == review(number) for number, place in enumerate(places, start=1))
        assert verify_ledger(view, Trust(signer.public)).is_intact


def test_one_that_is_refused_does_not_take_the_others_of_its_commit_along(
    store: LedgerStore, signer: CosignerSigner
) -> None:
    if isinstance(store, InMemoryLedger):
        return
    log.append(store, [review(1, key="one")])

    def write(number: int) -> str:
        try:
            log.append(store, [review(number, key="one" if number % 10 == 0 else f"key-{number}")])
        except EntryConflictError:
            return "refused"
        return "taken"

    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(write, range(2, 102)))
    assert found.count("refused") == 10
    with store.snapshot() as view:
        assert view.size == 2 + 90


def _write_some(url: str, writer: int, count: int) -> None:
    engine = sql_engine.connect(url)
    store = SqlLedger(engine)
    for number in range(count):
        log.append(
            store, [review(writer * 1000 + number, key=f"own-{writer}-{number}"), review(7, key=f"both-{number}")]
        )
    engine.dispose()


def test_processes_append_at_once_and_the_tree_stays_whole(engine: Engine) -> None:
    store, signer = SqlLedger(engine), CosignerSigner.generate(ORIGIN)
    log.open_log(store, signer.public, now=NOW)
    url = engine.url.render_as_string(hide_password=False)
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write_some, args=(url, writer, 15)) for writer in (1, 2, 3)]
    for each in writers:
        each.start()
    for each in writers:
        each.join(60)
        assert each.exitcode == 0
    log.sign_checkpoint(store, signer, now=NOW)
    with store.snapshot() as view:
        assert view.size == 1 + 3 * 15 + 15  # what all three said is one entry each
        assert verify_ledger(view, Trust(signer.public)).is_intact


def one(statement: str) -> Callable[[Engine], None]:
    def run(engine: Engine) -> None:
        with engine.begin() as connection:
            connection.execute(text(statement))

    return run


def edit(engine: Engine) -> None:
    with engine.begin() as connection:
        query = text("SELECT leaf FROM ledger_entries WHERE leaf_index = 20")
        leaf = bytes(connection.execute(query).scalar_one()).replace(b"accepted", b"rejected")
        connection.execute(text("UPDATE ledger_entries SET leaf = :leaf WHERE leaf_index = 20"), {"leaf": leaf})


@pytest.mark.parametrize(
    ("attack", "fault", "place"),
    [
        pytest.param(edit, Fault.EDITED, 20, id="edited"),
        pytest.param(one("DELETE FROM ledger_entries WHERE leaf_index = 20"), Fault.MISSING, 20, id="deleted"),
        pytest.param(one("DELETE FROM ledger_entries WHERE leaf_index > 40"), Fault.TRUNCATED, 41, id="cut-off"),
        pytest.param(one("UPDATE ledger_state SET size = 40"), Fault.TRUNCATED, 40, id="size-set-back"),
        pytest.param(
            one("INSERT INTO ledger_entries SELECT 51, kind, NULL, leaf FROM ledger_entries WHERE leaf_index = 20"),
            Fault.INSERTED,
            51,
            id="inserted",
        ),
        pytest.param(
            one("UPDATE ledger_entries SET leaf_index = 100 WHERE leaf_index = 20"), Fault.MOVED, 100, id="moved"
        ),
        pytest.param(one("DELETE FROM ledger_tiles"), Fault.HASHES_DAMAGED, 0, id="hashes-deleted"),
    ],
)
def test_one_row_that_is_tampered_with_is_named(
    engine: Engine, attack: Callable[[Engine], None], fault: Fault, place: int
) -> None:
    store, signer = SqlLedger(engine), CosignerSigner.generate(ORIGIN)
    log.open_log(store, signer.public, now=NOW)
    log.append(store, [review(number) for number in range(1, 51)])
    log.sign_checkpoint(store, signer, now=NOW)
    attack(engine)
    with store.snapshot() as view:
        report = verify_ledger(view, Trust(signer.public))
    assert (fault, place) in {(each.fault, each.first) for each in report.findings}


def test_a_database_without_the_tables_is_told_in_our_words(tmp_path: Path) -> None:
    engine = sql_engine.connect(f"sqlite:///{tmp_path}/empty.db")
    store = SqlLedger(engine)
    with pytest.raises(LedgerStoreError, match="qfl migrate"):
        log.append(store, [review(1)])
    with pytest.raises(LedgerStoreError, match="qfl migrate"), store.snapshot():
        pass
    engine.dispose()

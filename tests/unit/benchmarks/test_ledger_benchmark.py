"""The ledger's benchmark runs at a small size, says what it left out, and judges honestly."""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks.ledger import judge, main
from benchmarks.ledger_contenders import HashChain, Ours


def test_a_quick_run_writes_figures_and_a_plot(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "results" / "ledger.json"
    assert main(["--quick", "--folder", str(tmp_path), "--out", str(out), "--commit", "abc"]) == 0
    found = json.loads(out.read_text())
    assert found["commit"] == "abc"
    assert found["command"].startswith("python -m benchmarks.ledger --quick")
    assert set(found["runs"]) | set(found["skipped"]) == {"ours", "pymerkle", "SQL hash chain"}
    assert ("pymerkle" in found["skipped"]) == (find_spec("pymerkle") is None)
    assert all(run["verified"] >= 3_000 for run in found["runs"].values())
    assert found["runs"]["SQL hash chain"]["proof_check_ms"] is None
    assert out.with_suffix(".png").stat().st_size > 5_000
    assert json.loads(capsys.readouterr().out)["passed"].keys() == found["passed"].keys()
    assert [path.name for path in tmp_path.iterdir()] == ["results"]  # the databases are gone


@pytest.mark.parametrize(
    ("figures", "passed"),
    [
        pytest.param({"appends_a_second": 2000, "verify_s_a_million": 59.9, "proof_check_ms": 0.9}, True, id="reached"),
        pytest.param({"appends_a_second": 1999, "verify_s_a_million": 59.9, "proof_check_ms": 0.9}, False, id="slow"),
        pytest.param({"appends_a_second": 2000, "verify_s_a_million": 60.0, "proof_check_ms": 0.9}, False, id="long"),
        pytest.param({"appends_a_second": 2000, "verify_s_a_million": 59.9, "proof_check_ms": 1.0}, False, id="proof"),
    ],
)
def test_goals_are_judged(figures: dict[str, float], passed: bool) -> None:
    assert all(judge(figures).values()) is passed


def test_contenders_notice_a_changed_row(tmp_path: Path) -> None:
    chain, ours = HashChain(tmp_path, 1), Ours(tmp_path, 2)
    for each in (chain, ours):
        each.append_each(range(5))
        each.append_many(range(5, 20))
        each.sign()
        assert each.verify() >= 20
    chain._connection.execute("UPDATE chain SET entry = x'00' WHERE id = 3")
    with ours._engine.begin() as connection:
        connection.exec_driver_sql("UPDATE ledger_entries SET leaf = x'00' WHERE leaf_index = 3")
    with pytest.raises(ValueError, match="row 2"):
        chain.verify()
    with pytest.raises(ValueError, match="entry-edited"):
        ours.verify()
    chain.close()
    ours.close()

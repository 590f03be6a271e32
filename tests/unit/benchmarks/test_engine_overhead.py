import pytest

from benchmarks import engine_overhead
from benchmarks.engine_overhead_parts import STAGES


@pytest.fixture
def timed(monkeypatch):
    """Both engines as if they had run: rounds of so many seconds, after a first one that does not count."""

    def pretend(ours: float, plain: float) -> None:
        line = {"seconds": ours, "stages": dict.fromkeys(STAGES, ours / len(STAGES))}
        monkeypatch.setattr(engine_overhead, "run_ours", lambda *_: [{**line, "seconds": 99.0}, line, line])
        monkeypatch.setattr(engine_overhead, "run_plain", lambda *_: [{"seconds": 99.0}, {"seconds": plain}])

    return pretend


@pytest.mark.parametrize(
    ("sites", "ours", "reached"), [(2, 2.9, True), (2, 3.1, False), (10, 9.0, True), (3, 99.0, None)]
)
def test_says_whether_the_goal_is_reached(timed, sites, ours, reached):
    timed(ours, 20.0)
    found = engine_overhead.compare(sites, rounds=2, turns=2, model_bytes=1000)
    assert found["reached"] is reached
    assert found["ours"]["rounds_s"] == [ours] * 4
    assert found["plain"]["median_s"] == 20.0
    assert len(found["plain"]["load"]) == 2


def test_writes_figures_with_their_origin_and_draws_them(timed, tmp_path, capsys):
    timed(4.0, 20.0)
    out, plot = tmp_path / "out.json", tmp_path / "out.png"
    words = ["--quick", "--json", str(out), "--plot", str(plot), "--commit", "0" * 40]
    assert engine_overhead.main(words) == 1
    text = out.read_text()
    assert text == capsys.readouterr().out
    assert '"commit": "' + "0" * 40 in text
    assert plot.read_bytes().startswith(b"\x89PNG")

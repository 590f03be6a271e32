"""Charts: what is higher is drawn higher, nothing leaves the picture, and nothing known is no picture."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federated.rounds.progress import fold
from federated.rounds.run_view import RoundView, RunView
from plugin.web.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, _steps, draw_charts
from tests.fakes.run_events import run_events


@given(st.floats(1e-6, 1e12))
def test_ticks_are_few_round_and_reach_the_highest_value(highest):
    ticks = _steps(highest)
    assert ticks[0] == 0
    assert ticks[-1] >= highest * (1 - 1e-6)
    assert 2 <= len(ticks) <= 6
    step = f"{ticks[1]:.6e}"
    assert step[0] in "125"
    assert set(step[1 : step.index("e")]) <= {".", "0"}


@pytest.mark.parametrize("finished", [0, 1, 3, 4])
@pytest.mark.parametrize("private", [True, False])
def test_everything_lies_inside_the_axes(finished, private):
    for chart in draw_charts(fold(run_events(finished=finished, private=private))):
        points = [tuple(map(float, pair.split(","))) for line in chart.lines for pair in line.points.split()]
        points += [corner for bar in chart.bars for corner in ((bar.x, bar.y), (bar.x + bar.width, bar.y + bar.height))]
        assert bool(points) != bool(chart.missing)
        for x, y in points:
            assert LEFT - 0.1 <= x <= WIDTH - RIGHT + 0.1
            assert TOP - 0.1 <= y <= HEIGHT - BOTTOM + 0.1


def test_the_worst_site_lies_below_the_mean():
    dice = draw_charts(fold(run_events()))[0]
    last = {line.kind: line.last for line in dice.lines}
    assert last["worst"][1] > last["mean"][1], "an SVG's y grows downwards"
    assert [line.kind for line in dice.lines][-2:] == ["worst", "mean"]
    worst = fold(run_events()).worst_site
    assert worst in dice.summary
    assert dict(dice.key)["worst"].startswith(worst)


def test_bars_of_a_round_stand_on_each_other():
    rounds = tuple(RoundView(number, bytes_sent=3e6, bytes_received=1e6) for number in (1, 2))
    chart = draw_charts(RunView(rounds=2, history=rounds))[3]
    first, second = chart.bars[:2]
    assert first.y == pytest.approx(second.y + second.height)
    assert first.height == pytest.approx(3 * second.height)
    assert [tick.text for tick in chart.values] == ["0", "1 MB", "2 MB", "3 MB", "4 MB"]


def test_a_loss_that_is_not_told_is_said_rather_than_drawn():
    loss = draw_charts(fold(run_events()))[2]
    assert "tells no number" in loss.missing
    assert not draw_charts(fold(run_events(private=False)))[2].missing


def test_a_long_run_has_few_round_numbers():
    rounds = tuple(RoundView(number, seconds=1.0) for number in range(1, 401))
    chart = draw_charts(RunView(rounds=400, history=rounds))[4]
    assert len(chart.rounds) <= 9
    assert all(bar.width > 0.5 for bar in chart.bars)

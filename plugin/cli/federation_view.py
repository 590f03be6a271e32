"""How a run looks while it goes on: one table on a terminal, lines in a log."""

import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from federated.rounds.events import Event
from federated.rounds.progress import fold
from federated.rounds.run_view import RunView
from plugin.cli.federation_table import draw_run, story
from plugin.cli.rows import shown
from plugin.services.amounts import amount, dice, energy_words, number

if TYPE_CHECKING:
    from federated.rounds.plan import RunPlan
    from plugin.services.local_run import Death, Sight


class RunDisplay:
    """Shows a run that goes on; use it in a with block.

    Attributes:
        view: What was told of it until now.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        """Prepare.

        Args:
            quiet: Whether standard output belongs to a program; then lines go to standard error.
        """
        self.view = RunView()
        self.console = Console(stderr=quiet, highlight=False, soft_wrap=True)
        self._heads: tuple[str, ...] = ()
        self._more: Mapping[str, tuple[str, ...]] = {}
        # Redrawn by whoever tells it something: a second thread would draw what is half changed.
        self._live = Live(console=self.console, auto_refresh=False) if self.console.is_terminal else None

    def __enter__(self) -> Self:
        """Begin to draw."""
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the terminal as it was, with the last table on it."""
        if self._live is not None:
            self._live.stop()

    def add_columns(self, heads: tuple[str, ...], cells: Mapping[str, tuple[str, ...]]) -> None:
        """Show further cells by site."""
        self._heads, self._more = heads, cells

    def show(self, events: Iterable[Event], *, is_news: bool = True) -> None:
        """Take events in and draw.

        Args:
            events: In order.
            is_news: Whether they happened just now; of what was long ago only the table is shown.
        """
        for event in events:
            self.view = fold([event], self.view)
            if is_news and (line := story(self.view, event)):
                self.say(line)
        if self._live is not None:
            width, now = self.console.width, datetime.now(UTC)
            drawn = draw_run(self.view, width=width, now=now, more=self._more, heads=self._heads)
            self._live.update(drawn, refresh=True)

    def say(self, line: str) -> None:
        """Print a line, above the table where there is one."""
        self.console.print(Text(shown(line)))


class LocalView:
    """Shows a run of plugin.services.local_run with the processes of it; use it in a with block."""

    def __init__(self, plan: "RunPlan", folder: Path, *, quiet: bool) -> None:
        """Prepare.

        Args:
            plan: Of the run.
            folder: Of the federation.
            quiet: Whether standard output belongs to a program; then lines go to standard error.
        """
        self._plan, self._folder = plan, folder
        # In a script, standard output is for what the run came to.
        self._display = RunDisplay(quiet=quiet or not sys.stdout.isatty())

    def __enter__(self) -> Self:
        """Begin to draw."""
        privacy = self._plan.privacy
        noise = f"noise {privacy.record_noise:g}" if privacy.record_noise else "no noise"
        self._display.say(
            f"{len(self._plan.sites)} phantom hospitals, {self._plan.rounds} rounds of {self._plan.learning.preset}, "
            f"{self._plan.learning.strategy}, {self._plan.aggregation.rule}, {noise}. Kill what you like."
        )
        self._display.say(f"Everything is in {self._folder}; what each process says, in {self._folder / 'logs'}")
        self._display.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the terminal as it was."""
        self._display.__exit__()

    def show(self, sight: "Sight") -> None:
        """Show what is new."""
        for death in sight.deaths:
            self._display.say(_describe_death(death))
        pids = {
            site: tuple(str(sight.pids.get(f"{role}-{site}", "starts")) for role in ("agent", "worker"))
            for site in self._plan.sites
        }
        self._display.add_columns(("agent", "worker"), pids)
        self._display.show(sight.events)

    def conclude(self, found: Mapping[str, Any]) -> None:
        """Show what the run came to, and what left each site."""
        table = Table("site", "Dice", "epsilon", "left the site", "of it", title=f"{found['run']}: {found['reason']}")
        for site in (*found["dice"], *(name for name in found["left"] if name not in found["dice"])):
            left = found["left"].get(site, {"bytes": 0, "kinds": {}})
            kinds = ", ".join(f"{kind['times']} x {name}" for name, kind in left["kinds"].items())
            worst = " (worst)" if site == found["worst_site"] else ""
            epsilon = found["epsilon_by_site"].get(site)
            cells = (dice(found["dice"].get(site)), number(epsilon), f"{left['bytes']:,} bytes", kinds)
            table.add_row(Text(site + worst), *(Text(cell) for cell in cells))
        out = Console(highlight=False)
        out.print(table)
        view = self._display.view
        energy = f" {amount(view.joules, 'J')} ({energy_words(view)})," if view.joules is not None else ""
        out.print(
            f"{found['rounds_finished']} rounds,{energy} {number(found['seconds_per_round'])} s each, of which "
            f"{number(found['engine_overhead_s'])} s are not the slowest site's own work; "
            f"{number(found['bytes_per_round'])} bytes a round."
        )
        how = "saw only sums over the sites" if found["secure_aggregation"] else "saw each site's update"
        out.print(f"The coordinator {how}. Nothing else than the above left a site.")
        if found.get("report"):
            out.print(Text(f"With plots: {found['report']}"))


def _describe_death(death: "Death") -> str:
    how = f"was killed by signal {-death.code}" if death.code < 0 else f"ended with code {death.code}"
    again = "" if death.restarts_in_s is None else f"; it starts again in {death.restarts_in_s:g} s"
    return f"{death.name} (process {death.pid}) {how}{again}"

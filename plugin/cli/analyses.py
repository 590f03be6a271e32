"""Analyses by hand."""

import os
import sys
import time
from typing import Any

import click

from plugin.cli.common import explained, site_services


@click.command()
@click.argument("study_instance_uid")
@click.option(
    "--wait/--no-wait", default=True, show_default=True, help="Show the progress until the result is published."
)
@click.option("--timeout", default=900.0, show_default=True, help="Stop waiting after so many seconds.")
@explained
def analyse(study_instance_uid: str, wait: bool, timeout: float) -> None:
    """Analyse one study now. Ctrl-C stops the waiting, not the analysis."""
    from plugin.services import intake

    services = site_services()
    analysis_id = intake.request_analysis(
        services,
        study_instance_uid=study_instance_uid,
        requested_by=f"command line ({os.environ.get('USER', 'unknown')})",
    )
    click.echo(f"Analysis {analysis_id}")
    click.echo(f"{services.site.public_url}/analyses/{analysis_id}")
    if wait:
        sys.exit(_follow(services, analysis_id, timeout))


def _follow(services: Any, analysis_id: str, timeout_s: float) -> int:
    """Show the progress; 0 when the result is published, 1 when it ended otherwise, 75 when still running."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from plugin.services.values import AnalysisState, Step

    end = time.monotonic() + timeout_s
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns) as progress:
        bar = progress.add_task("queued", total=len(Step))
        while time.monotonic() < end:
            analysis = services.store.get(analysis_id)
            done = list(Step).index(analysis.step) + analysis.progress if analysis.step else 0.0
            progress.update(bar, completed=done, description=f"{analysis.state}: {analysis.step or 'waiting'}")
            if not analysis.state.is_open:
                break
            time.sleep(0.5)
    click.echo(f"{analysis.state}: {analysis.reason or (analysis.result.findings if analysis.result else '')}")
    if analysis.state.is_open:
        return 75
    good = {AnalysisState.AWAITING_REVIEW, AnalysisState.ACCEPTED, AnalysisState.REJECTED, AnalysisState.DUPLICATE}
    return 0 if analysis.state in good else 1

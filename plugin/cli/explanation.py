"""Explain what the model does with one case."""

import json
from pathlib import Path
from typing import Any

import click

from plugin.cli.common import explained
from plugin.cli.prediction import progress_bar


@click.command()
@click.argument("source", metavar="INPUT", type=click.Path(path_type=Path))
@click.option("--output", required=True, metavar="DIR", type=click.Path(path_type=Path), help="Where the results go.")
@click.option(
    "--model", metavar="DIR", type=click.Path(path_type=Path), help="A model's folder.  [default: the installed model]"
)
@click.option(
    "--samples", default=200, show_default=True, type=click.IntRange(10, 10_000), help="Of the local explanation."
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Of what is drawn at random.")
@click.option("--json", "as_json", is_flag=True, help="Print explanation.json instead of a summary.")
@explained
def explain(source: Path, output: Path, model: Path | None, samples: int, seed: int, as_json: bool) -> None:
    """Explain one case: which pieces of tissue made the model outline a tumour, and how far that can be trusted.

    INPUT is what `qfl predict` takes. DIR gets explanation.png and explanation.json: the weights of supervoxels (LIME)
    with their fidelity, integrated gradients with a check against random weights, and a reading of the outlines by
    seven rules. About a minute on one free core; a large tumour takes longer.

    Research use only; not a medical device.
    """
    from plugin.services import explanation
    from plugin.settings import PACKAGED_MODEL

    with progress_bar() as progress:
        document = explanation.explain(
            source, output, model or PACKAGED_MODEL, samples=samples, seed=seed, progress=progress
        )
    if as_json:
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        _print(document, output)


def _print(document: dict[str, Any], output: Path) -> None:
    local, attribution, sanity, reading = (document[name] for name in ("local", "attribution", "sanity", "reading"))
    last = sanity["stages"][-1]
    click.echo(f"Explained: {document['explained']['what']}, {document['explained']['answer']:+.2f}.")
    click.echo(
        f"Local explanation: R2 {local['r2_held_out']:.2f} on samples it was not fitted to ({local['supervoxels']} "
        f"supervoxels, {local['samples']} samples); {'faithful' if local['faithful'] else 'not faithful'} "
        f"(from {local['faithful_from']})."
    )
    for piece in local["top"][:5]:
        left, posterior, superior = piece["centre_lps_mm"]
        click.echo(
            f"  {piece['weight']:+.3f}  {piece['volume_ml']:.1f} ml at LPS {left:.0f}, {posterior:.0f}, "
            f"{superior:.0f} mm, {piece['share_in_tumour']:.0%} of it in the tumour"
        )
    sums = ", ".join(f"{name} {total:+.2f}" for name, total in attribution["by_sequence"].items())
    click.echo(f"Attribution by sequence: {sums}; parts miss the whole by {attribution['gap']:.1%}.")
    click.echo(
        f"With random weights: rank correlation {last['rank_correlation']:+.2f}, similarity {last['similarity']:.2f}: "
        f"{'passed' if sanity['passed'] else 'NOT PASSED'}."
    )
    if reading is None:
        click.echo("Reading by rules: nothing was outlined.")
    else:
        click.echo(f"Reading by rules: {reading['conclusion']} ({reading['score']:.2f}). {reading['what']}")
        for rule in reading["fired_rules"][:3]:
            click.echo(f"  {rule['degree']:.2f}  {rule['rule']}")
    for warning in document["warnings"]:
        click.echo(f"Warning: {warning}")
    click.echo(f"Model {document['model']['name']}, version {document['model']['version']}")
    click.echo(f"{output}: explanation.png, explanation.json")
    click.echo(document["research_use"])

"""Segment files by hand."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from plugin.cli.common import explained


@click.command()
@click.argument("source", metavar="INPUT", type=click.Path(path_type=Path))
@click.option("--output", required=True, metavar="DIR", type=click.Path(path_type=Path), help="Where the results go.")
@click.option(
    "--model", metavar="DIR", type=click.Path(path_type=Path), help="A model's folder.  [default: the installed model]"
)
@click.option("--json", "as_json", is_flag=True, help="Print measurements.json instead of a table.")
@explained
def predict(source: Path, output: Path, model: Path | None, as_json: bool) -> None:
    """Segment one case: INPUT is a folder of DICOM series, NIfTI files named by sequence, or one 4-D NIfTI file.

    A folder of NIfTI files holds t1ce.nii.gz (or t1c, t1gd) and, if there are, t1, t2 and flair; names may have the
    case in front (CASE_t1ce.nii.gz). The volumes of a 4-D file are t1, t1ce, t2, flair, in this order. DICOM series are
    told apart by their headers.

    DIR gets mask.nii.gz in the geometry of the T1ce (1 necrotic and non-enhancing core, 2 oedema, 4 enhancing tumour),
    uncertainty.nii.gz, overlay.png and measurements.json; files of an earlier run are replaced.

    Research use only; not a medical device.
    """
    from federated.inference import load_segmenter
    from plugin.services import prediction
    from plugin.settings import PACKAGED_MODEL

    segmenter = load_segmenter(model or PACKAGED_MODEL)
    with progress_bar() as progress:
        predicted = prediction.predict(source, output, segmenter, progress)
    if as_json:
        click.echo(json.dumps(predicted.document, indent=2, ensure_ascii=False))
    else:
        _print(predicted, output)


@contextmanager
def progress_bar() -> Iterator[Any]:
    """On standard error, so that --json can be piped."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("reading", total=1.0)
        yield lambda step, fraction: bar.update(task, description=step, completed=fraction)


def _print(predicted: Any, output: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    document = predicted.document
    console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 120)
    for use in predicted.uses:
        taken = f"taken as {use.contrast}" if use.contrast else "not used"
        console.print(f"{use.description or use.series_instance_uid}: {taken}. {use.reason}", markup=False)
    table = Table("region", "ml", "diameters (mm)", "product (mm2)", "RANO measurable", "mean probability")
    for region in document["regions"]:
        axes = region["long_axis_mm"], region["short_axis_mm"]
        table.add_row(
            region["label"],
            f"{region['volume_ml']:.1f}",
            " x ".join(f"{axis:.0f}" for axis in axes) if None not in axes else "-",
            "-" if region["product_mm2"] is None else f"{region['product_mm2']:.0f}",
            "yes" if region["is_measurable"] else "no",
            "-" if region["confidence"] is None else f"{region['confidence']:.0%}",
        )
    console.print(table)
    console.print(document["findings"], markup=False)
    console.print(f"Confidence (expected Dice of the whole tumour): {document['confidence']:.0%}", markup=False)
    for warning in document["warnings"]:
        console.print(f"Warning: {warning}", markup=False)
    console.print(f"Model {document['model']['name']}, version {document['model']['version']}", markup=False)
    console.print(f"{output}: {', '.join(document['files'])}, measurements.json", markup=False)
    console.print(document["research_use"], markup=False)

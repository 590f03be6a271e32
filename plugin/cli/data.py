"""Cohorts: synthetic ones to try and compare on, and a look at one's own before training."""

import sys
from pathlib import Path

import click

from plugin.cli.common import explained

_UNUSABLE = 65
"""EX_DATAERR of sysexits.h."""


@click.group()
def data() -> None:
    """Cohorts to train on: write synthetic ones, check one's own."""


@data.command()
@click.option("--output", required=True, type=click.Path(path_type=Path, file_okay=False), help="An empty folder.")
@click.option("--site", "number", default=1, show_default=True, help="1 to 10; 11 and 12 are the unseen sites.")
@click.option("--cases", "count", default=4, show_default=True, type=click.IntRange(1, 10_000), help="How many.")
@click.option("--format", "file_format", type=click.Choice(["nifti", "dicom"]), default="nifti", show_default=True)
@click.option("--spacing", default=2.0, show_default=True, type=click.FloatRange(1, 8), help="Voxel size, mm.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="The same seed, the same cases.")
@click.option("--skull", is_flag=True, help="Heads instead of stripped brains.")
@explained
def phantom(output: Path, number: int, count: int, file_format: str, spacing: float, seed: int, skull: bool) -> None:
    """Write synthetic patients of one pretend site, with tumours and labels.

    As NIfTI in the BraTS layout (CASE/CASE_t1.nii.gz ... CASE_seg.nii.gz, demographics.csv), or as DICOM series with a
    SEG. Nothing is downloaded.
    """
    from dataclasses import replace

    from federated.cases import write_cohort
    from federated.phantom_sites import SITES, Split, phantom_cohort
    from plugin.services.cohorts import write_dicom_cohort

    if not 1 <= number <= len(SITES):
        raise click.BadParameter(f"expected 1 to {len(SITES)}, got {number}", param_hint="--site")
    site = replace(SITES[number - 1], cases=count)
    split = Split.TRAINING if site.seen else Split.UNSEEN
    cases = phantom_cohort(seed, sites=[site], spacing_mm=spacing, split=split, skull=skull)
    write = write_cohort if file_format == "nifti" else write_dicom_cohort
    with click.progressbar(cases, label=site.name, file=sys.stderr) as bar:
        written = write(output, bar)
    click.echo(f"{output}: {written} cases of {site.name}.")


@data.command()
@click.argument("folder", type=click.Path(path_type=Path))
@explained
def check(folder: Path) -> None:
    """Read every case of FOLDER and say what it holds, or why it cannot be trained on.

    FOLDER holds NIfTI in a BraTS layout, or DICOM studies with a SEG.
    """
    from plugin.services.cohorts import open_cohort, summarise_case

    sources = open_cohort(folder)
    unusable = 0
    for source in sources:
        summary = summarise_case(source)
        if summary.fault is not None:
            unusable += 1
            click.echo(f"UNUSABLE  {summary.fault}")
            continue
        grid = " x ".join(str(length) for length in summary.shape)
        spacing = " x ".join(f"{length:.3g}" for length in summary.spacing_mm)
        core, oedema, enhancing = summary.volumes_ml
        click.echo(
            f"ok  {summary.name}  {','.join(summary.contrasts)}  {grid} at {spacing} mm  "
            f"core {core:.1f}, oedema {oedema:.1f}, enhancing {enhancing:.1f} ml"
        )
    click.echo(f"{len(sources) - unusable} of {len(sources)} cases can be used.")
    if unusable:
        sys.exit(_UNUSABLE)

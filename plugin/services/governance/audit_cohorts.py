"""What an audit looks at: synthetic patients, or a folder of labelled cases. No voxel is read here."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import Final

from federated.cases import DEMOGRAPHICS_FILE, CaseSource, read_cohort
from federated.demographics import Demographics, age_band
from federated.phantom_sites import PhantomCase, Split, phantom_cohort
from governance.errors import AuditDataError

FIRST_SEED: Final = 2026
"""Of the cohort whose other splits the shipped model was trained and tuned on; no two splits share a case."""
_SEEDS: Final = 40
"""Cohorts that cases are chosen from, each of 60 cases."""
_SPARE: Final = 2
"""Cases of each group beyond the fewest that are judged."""


@dataclass(frozen=True)
class AuditCohort:
    """Cases to audit a model on.

    Attributes:
        name: For people; names no folder.
        key: The same for the same cases in the same order, though there be more of them.
        sources: Of the cases, each read when it is needed.
        seeds: Of synthetic patients.
    """

    name: str
    key: str
    sources: tuple[CaseSource, ...]
    seeds: tuple[int, ...] = ()


def phantom_audit_cohort(cases: int, *, spacing_mm: float, minimum_group: int, seed: int = FIRST_SEED) -> AuditCohort:
    """Choose synthetic patients that no model was trained on, so that small groups are there too.

    First come the test cases and the cases of unseen sites of one cohort. Then cases of further cohorts are added for
    the group that lacks most, until each has enough; then any. Cases are chosen by site and demographics alone, before
    anything is known of how a model does on them.

    Args:
        cases: How many.
        spacing_mm: Of their grid.
        minimum_group: Fewest cases of a group that is judged.
        seed: Of the first cohort.
    """
    pool = [case for number in range(seed, seed + _SEEDS) for case in _held_out(number, spacing_mm)]
    whole = len(_held_out(seed, spacing_mm))
    chosen, waiting = pool[: min(cases, whole)], pool[whole:]
    counts = Counter(group for case in chosen for group in case_groups(case.demographics, case.site.name).items())
    wanted = {group for case in pool for group in case_groups(case.demographics, case.site.name).items()}
    while len(chosen) < cases and waiting:
        lacking = [group for group in sorted(wanted) if counts[group] < minimum_group + _SPARE]
        following = _next_case(waiting, sorted(lacking, key=lambda group: counts[group]), counts)
        waiting.remove(following)
        chosen.append(following)
        counts.update(case_groups(following.demographics, following.site.name).items())
    seeds = sorted({case.seed[0] for case in chosen})
    key = f"phantom from seed {seed} at {spacing_mm:g} mm, groups of {minimum_group}"
    return AuditCohort(f"phantom at {spacing_mm:g} mm", key, tuple(chosen), tuple(seeds))


def folder_audit_cohort(folder: Path, cases: int | None = None) -> AuditCohort:
    """The labelled cases of a folder, with demographics.csv.

    Args:
        folder: In a layout of federated.case_files.
        cases: The first so many; None for all.

    Raises:
        TrainingDataError: There is no case, or demographics.csv holds an unknown value.
        AuditDataError: There is no demographics.csv, or it names none of the cases.
    """
    if not (folder / DEMOGRAPHICS_FILE).exists():
        raise AuditDataError(
            f"{DEMOGRAPHICS_FILE} is missing beside the cases: nothing can be said about fairness. Write one with the "
            "columns case, site, sex, age_years, ethnicity."
        )
    sources = read_cohort(folder)
    if not any(each.demographics or each.site for each in sources):
        raise AuditDataError(
            f"{DEMOGRAPHICS_FILE} tells nothing of any of the {len(sources)} cases; its column case must hold the "
            "names of the cases' files."
        )
    names = sha256("\n".join(each.name for each in sources).encode()).hexdigest()
    return AuditCohort("folder of labelled cases", f"folder {names}", sources[:cases])


def case_groups(person: Demographics | None, site: str | None) -> Mapping[str, str]:
    """The groups that a case is of; what is unknown is left out."""
    groups = {"site": site} if site else {}
    if person is not None:
        groups |= {"sex": person.sex, "age": age_band(person.age_years), "ethnicity": person.ethnicity}
    return groups


def _held_out(seed: int, spacing_mm: float) -> list[PhantomCase]:
    """Test and unseen cases, one of each site after the other, so that the first few are of all sites."""
    splits = (phantom_cohort(seed, spacing_mm=spacing_mm, split=split) for split in (Split.TEST, Split.UNSEEN))
    return sorted(chain.from_iterable(splits), key=lambda case: (case.index, case.site.name))


def _next_case(
    waiting: Sequence[PhantomCase], lacking: Sequence[tuple[str, str]], counts: Mapping[tuple[str, str], int]
) -> PhantomCase:
    """The first case of the group that lacks most, or of any when none lacks; from the site that has fewest."""
    for group in lacking:
        found = [case for case in waiting if group in case_groups(case.demographics, case.site.name).items()]
        if found:
            return min(found, key=lambda case: counts[("site", case.site.name)])
    return min(waiting, key=lambda case: counts[("site", case.site.name)])

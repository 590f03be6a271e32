"""Who a case is of, as far as fairness needs it: sex, age and ethnicity, and how they are distributed in glioma.

References:
    Age and sex by grade: UCSF-PDGM v5 (501 adults; CC BY 4.0) and TCGA-GBM/LGG (862 rows of UCI's "Glioma Grading
    Clinical and Mutation Features", CC BY 4.0), which agree within two years and two percent. Ethnicity: the latter.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from federated.errors import TrainingDataError

SEXES = ("F", "M")
ETHNICITIES = ("white", "black or african american", "asian", "other")
"""TCGA's words; "other" also stands for not reported."""
YOUNGEST, OLDEST = 18, 90
_HIGHEST_AGE = 120
_COLUMNS = ("case", "site", "sex", "age_years", "ethnicity")
AGE_YEARS = {True: (43.4, 13.5), False: (60.2, 13.9)}
"""Mean and standard deviation; low grade, high grade."""
AGE_BANDS = ((40, "0-39"), (60, "40-59"), (80, "60-79"), (_HIGHEST_AGE + 1, "80 and older"))
"""First age beyond each band, and its name."""
FEMALE_SHARE = {True: 0.44, False: 0.39}
ETHNICITY_SHARES: Mapping[str, float] = {
    "white": 0.893,
    "black or african american": 0.069,
    "asian": 0.016,
    "other": 0.022,
}


@dataclass(frozen=True)
class Demographics:
    """What is known of the person.

    Attributes:
        sex: One of SEXES.
        age_years: At the examination.
        ethnicity: One of ETHNICITIES.
    """

    sex: str
    age_years: int
    ethnicity: str


@dataclass(frozen=True)
class Person:
    """What a cohort knows of the patient of one case, and of where the case comes from."""

    demographics: Demographics | None
    site: str | None


@dataclass(frozen=True)
class Population:
    """By how much a site's patients differ from those of the studies above.

    Attributes:
        older_years: Added to everybody's age.
        female_odds: Multiplies the odds of being female.
        ethnicity_shares: Chance of each; together 1.
    """

    older_years: float = 0.0
    female_odds: float = 1.0
    ethnicity_shares: Mapping[str, float] = field(default_factory=lambda: ETHNICITY_SHARES)


def age_band(age_years: int) -> str:
    """The name of the band that an age lies in."""
    return next((name for limit, name in AGE_BANDS if age_years < limit), AGE_BANDS[-1][1])


def draw_demographics(rng: np.random.Generator, population: Population, *, low_grade: bool) -> Demographics:
    """Draw a person with a glioma of that grade."""
    share = FEMALE_SHARE[low_grade]
    odds = population.female_odds * share / (1 - share)
    sex = "F" if rng.random() < odds / (1 + odds) else "M"
    mean, deviation = AGE_YEARS[low_grade]
    age = int(np.clip(rng.normal(mean + population.older_years, deviation), YOUNGEST, OLDEST))
    shares = population.ethnicity_shares
    return Demographics(sex, age, str(rng.choice(list(shares), p=list(shares.values()))))


def parse_demographics(sex: str, age_years: str, ethnicity: str) -> Demographics:
    """Read a person's demographics from untrusted text.

    Raises:
        ValueError: A value is none of those that are known; the message does not say of whom.
    """
    if sex not in SEXES:
        raise ValueError(f"expected a sex of {', '.join(SEXES)}, got {sex!r}.")
    if not (age_years.isascii() and age_years.isdigit() and int(age_years) <= _HIGHEST_AGE):
        raise ValueError(f"expected an age of 0 to {_HIGHEST_AGE} whole years, got {age_years!r}.")
    if ethnicity not in ETHNICITIES:
        raise ValueError(f"expected an ethnicity of {', '.join(ETHNICITIES)}, got {ethnicity!r}.")
    return Demographics(sex, int(age_years), ethnicity)


def read_people(path: Path) -> dict[str, Person]:
    """Read a cohort's demographics.csv, with the columns case, site, sex, age_years, ethnicity.

    Returns:
        By the name of the case; nothing when there is no such file.

    Raises:
        TrainingDataError: The file is unreadable, a column is missing, or a value is unknown.
    """
    if not path.exists():
        return {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as fault:
        raise TrainingDataError(f"{path}: cannot be read ({type(fault).__name__}).") from fault
    missing = [column for column in _COLUMNS if rows and column not in rows[0]]
    if missing:
        raise TrainingDataError(f"{path}: expected the columns {', '.join(_COLUMNS)}, {', '.join(missing)} missing.")
    people = {}
    for line, row in enumerate(rows, start=2):
        case, site, *known = ((row[column] or "").strip() for column in _COLUMNS)
        try:
            people[case] = Person(parse_demographics(*known) if any(known) else None, site or None)
        except ValueError as fault:
            raise TrainingDataError(f"{path}, line {line}: {fault}") from fault
    return people


def write_people(path: Path, people: Mapping[str, Person]) -> None:
    """Write demographics.csv, by the name of the case."""
    rows: list[tuple[object, ...]] = [_COLUMNS]
    for case, person in people.items():
        known = person.demographics
        values = (known.sex, known.age_years, known.ethnicity) if known else ("", "", "")
        rows.append((case, person.site or "", *values))
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)

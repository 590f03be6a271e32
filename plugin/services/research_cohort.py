"""The cases that a hospital lends to a round: drawn anew each time, from whoever consents at that moment.

Who is in it stays here. What is recorded of a cohort is how many, why others were left out, and a digest under a key of
the site's own, by which the site, and nobody else, can tell later whether it was the same cohort.
"""

import hashlib
import hmac
import logging
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from federated.demographics import Demographics
from federated.errors import FederatedError, TrainingDataError
from plugin.errors import SettingsError
from plugin.services.policy_model import CohortCount
from plugin.services.secret_files import private_folder, read_secret, write_secret_once

if TYPE_CHECKING:
    # The web process and an agent read no voxels.
    from federated.cases import Case, CaseSource

HELD_OUT_SHARE: Final = 5
"""One of so many patients is held out, always the same one."""
_SETTING = re.compile(r"reviewed|phantom:(?P<name>[a-z0-9-]{1,40})(:(?P<cases>[1-9]\d{0,3}))?|folder:(?P<path>.+)")
KEY_FILE: Final = "cohort.key"
_KEY_BYTES: Final = 32
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Cohort:
    """Whose cases take part.

    Attributes:
        training, held_out: No patient is in both, and none twice.
        synthetic: Whether they are phantoms.
        people: By the name of a held-out case, where known.
        left_out: Studies by the reason why they are not in it.
        digest: Keyed; of who is in it.
    """

    training: "Sequence[CaseSource]"
    held_out: "Sequence[CaseSource]"
    digest: str
    synthetic: bool = False
    people: Mapping[str, Demographics] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)

    @property
    def count(self) -> CohortCount:
        """As a policy looks at it."""
        return CohortCount(len(self.training), self.left_out)


class CohortSource(Protocol):
    """Where a site's cases come from."""

    def draw(self, *, now: datetime, spacing_mm: float = 2.0) -> Cohort:
        """Choose the cases; no voxel is read.

        Args:
            now: With the hospital's time zone; a Consent is asked what it permits at this moment.
            spacing_mm: Of the model's grid, on which phantoms are built; other cases are brought to it later.

        Raises:
            TrainingDataError: There is no case.
            FhirAdapterError: The EHR cannot be asked.
        """


@dataclass(frozen=True)
class CohortSetting:
    """What QFL_FEDERATION_COHORT says.

    Attributes:
        phantom: Name of a phantom site.
        cases: Most of its cases to train on; None for all.
        folder: Of labelled cases; with neither, the site's reviewed studies.
    """

    phantom: str | None = None
    cases: int | None = None
    folder: Path | None = None


def parse_cohort_setting(value: str) -> CohortSetting:
    """Read "reviewed", "phantom:NAME", "phantom:NAME:CASES" or "folder:PATH".

    Raises:
        SettingsError: It is none of these.
    """
    match = _SETTING.fullmatch(value)
    if match is None:
        raise SettingsError(
            "QFL_FEDERATION_COHORT must be reviewed, phantom:NAME, phantom:NAME:CASES or folder:PATH, got "
            f"{value[:80]!r}."
        )
    path = match["path"]
    return CohortSetting(match["name"], int(match["cases"]) if match["cases"] else None, Path(path) if path else None)


@dataclass(frozen=True)
class PhantomCohort:
    """The synthetic patients of a phantom site; the same ones each time.

    Attributes:
        key: Of digests.
        limit: Most cases to train on.
        seed: Of the synthetic patients; not the training's.
    """

    key: bytes = field(repr=False)
    name: str
    limit: int | None = None
    seed: int = 2026

    def draw(self, *, now: datetime, spacing_mm: float = 2.0) -> Cohort:  # noqa: ARG002 - phantoms always consent
        """See CohortSource.

        Raises:
            SettingsError: There is no such phantom site.
        """
        from federated.phantom_sites import SITES, Split, phantom_cohort

        found = [site for site in SITES if site.name == self.name and site.seen]
        if not found:
            known = ", ".join(site.name for site in SITES if site.seen)
            raise SettingsError(f"QFL_FEDERATION_COHORT must name a phantom site of {known}, got {self.name!r}.")
        training, held_out = (
            phantom_cohort(self.seed, sites=found, spacing_mm=spacing_mm, split=split)
            for split in (Split.TRAINING, Split.VALIDATION)
        )
        chosen = training[: self.limit]
        names = [case.name for case in (*chosen, *held_out)]
        people = {case.name: case.demographics for case in held_out}
        return Cohort(chosen, held_out, keyed_digest(self.key, names), synthetic=True, people=people)


@dataclass(frozen=True)
class FolderCohort:
    """The labelled cases of a folder, in a BraTS layout or as DICOM studies; who put them there has asked the patients.

    Attributes:
        key: Of digests, and of who is held out.
    """

    key: bytes = field(repr=False)
    folder: Path

    def draw(self, *, now: datetime, spacing_mm: float = 2.0) -> Cohort:  # noqa: ARG002 - as CohortSource has it
        """See CohortSource."""
        from plugin.services.cohorts import open_cohort

        training: list[CaseSource] = []
        held_out: list[CaseSource] = []
        people: dict[str, Demographics] = {}
        sources = open_cohort(self.folder)
        for source in sources:
            case = RenamedCase(pseudonym(self.key, source.name), source)
            if is_held_out(self.key, source.name):
                held_out.append(case)
                known = getattr(source, "demographics", None)
                people |= {case.name: known} if known else {}
            else:
                training.append(case)
        return Cohort(training, held_out, keyed_digest(self.key, [source.name for source in sources]), people=people)


@dataclass(frozen=True, eq=False)
class RenamedCase:
    """A case under a pseudonym: what is said of it in a training may reach the coordinator."""

    name: str
    source: "CaseSource" = field(repr=False)

    def read(self) -> "Case":
        """Read it.

        Raises:
            TrainingDataError: It cannot be used; why, is in the site's log.
        """
        try:
            return replace(self.source.read(), name=self.name)
        except FederatedError as fault:
            _log.warning("%s is %s: %s", self.name, self.source.name, fault)
            raise TrainingDataError(f"{self.name}: cannot be used; the site's log says why.") from fault


def cohort_key(folder: Path) -> bytes:
    """The site's own key of digests and pseudonyms, made once and kept in its folder for its owner.

    Raises:
        ProvisioningError: The folder or the key is open to others, or cannot be written.
    """
    path = private_folder(folder) / KEY_FILE
    write_secret_once(path, secrets.token_bytes(_KEY_BYTES))
    return read_secret(path)


def keyed_digest(key: bytes, names: Iterable[str]) -> str:
    """Of a set of names, whatever their order; without the key it tells nothing of them."""
    return _keyed(key, "cohort", *sorted(names)).hex()


def pseudonym(key: bytes, name: str) -> str:
    """A name for a case that says nothing of whose it is."""
    return f"case-{_keyed(key, 'case', name).hex()[:16]}"


def is_held_out(key: bytes, patient: str) -> bool:
    """Whether a patient's cases are for evaluation; the same in every round, whoever else is in the cohort."""
    return int.from_bytes(_keyed(key, "held-out", patient)[:8], "big") % HELD_OUT_SHARE == 0


def _keyed(key: bytes, *parts: str) -> bytes:
    # Lengths first: no two lists of names are the same text.
    text = "".join(f"{len(part.encode())}:{part}" for part in parts)
    return hmac.new(key, text.encode(), hashlib.sha256).digest()

"""What the hospital allows at this moment: its policy, whether it takes part, its hours, its budget and its cohort."""

import logging
import math
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from dicom_ingest.errors import DicomIngestError
from federated.errors import FederatedError, PrivacyBudgetError, PrivacySettingsError
from federated.privacy.budget import Spending, spending_of_round
from federated.rounds.ports import Finding
from federated.rounds.terms import RoundTerms
from fhir_adapter.errors import FhirAdapterError
from plugin.errors import PluginError, SitePolicyError
from plugin.services.policy_model import LOCAL, CohortCount, Cost, Forecast, Situation
from plugin.services.policy_rules import check_round
from plugin.services.research_cohort import CohortSource
from plugin.services.round_records import RoundRecords
from plugin.services.site_policy import SitePolicy, read_policy

_log = logging.getLogger(__name__)


class HospitalRules:
    """SiteRules by the site's policy file, which is read anew at every check, and by what the site knows of itself."""

    def __init__(
        self,
        policy_file: Path,
        records: RoundRecords,
        cohort: CohortSource,
        *,
        device: str = "auto",
        backend: str = LOCAL,
    ) -> None:
        """Put together what the rules look at.

        Args:
            policy_file: The site's.
            records: Budget, participation, and what rounds have begun.
            cohort: Draws the cases anew.
            device: That the worker was told to use: auto, cpu or cuda.
            backend: Where the worker runs circuits: LOCAL, or an Azure target.
        """
        self._policy_file = policy_file
        self._records = records
        self._cohort = cohort
        self._device = device
        self._backend = backend

    def check(self, terms: RoundTerms, *, now: datetime) -> Sequence[Finding]:
        """Apply every rule to a round's terms; where all allow it, record what they looked at.

        Raises:
            RoundRecordError: The site's records cannot be used.
        """
        try:
            policy = read_policy(self._policy_file)
        except SitePolicyError as fault:
            _log.error("%s", fault)
            return [
                Finding("policy", str(fault), False, "The site's policy cannot be used; nothing is allowed without.")
            ]
        count, digest = self._draw(policy, now)
        findings = self._findings(policy, terms, count, now)
        if all(finding.allowed for finding in findings):
            self._records.note_check(terms, policy_digest=policy.digest, cohort_digest=digest, cohort=count, now=now)
        return findings

    def preview(self, terms: RoundTerms, *, now: datetime) -> Sequence[Finding]:
        """What check would say, without a record of it.

        Raises:
            SitePolicyError: The policy cannot be used.
            RoundRecordError: The site's records cannot be used.
        """
        policy = read_policy(self._policy_file)
        return self._findings(policy, terms, self._draw(policy, now)[0], now)

    def _findings(self, policy: SitePolicy, terms: RoundTerms, count: CohortCount, now: datetime) -> Sequence[Finding]:
        return [self._which(policy), *check_round(policy, terms, self._situation(policy, terms, count, now), now)]

    def _which(self, policy: SitePolicy) -> Finding:
        """Says so where somebody edited the policy."""
        before = next((row.policy_digest for row in self._records.rounds(limit=1)), None)
        changed = before is not None and before != policy.digest
        inputs = f"{self._policy_file.name}, SHA-256 {policy.digest[:16]}"
        if changed:
            inputs += f"; at the round before it was {before[:16] if before else ''}"
            _log.warning("The site's policy has changed since the last round: %s", inputs)
        return Finding("policy", inputs, True, "The site's policy can be read and contradicts itself nowhere.")

    def _draw(self, policy: SitePolicy, now: datetime) -> tuple[CohortCount, str]:
        try:
            cohort = self._cohort.draw(now=now.astimezone(policy.hours.zone))
        except (FhirAdapterError, DicomIngestError, FederatedError, PluginError) as fault:
            _log.warning("No cohort could be drawn: %s", fault)
            return CohortCount(0, fault=str(fault)), ""
        return cohort.count, cohort.digest

    def _situation(self, policy: SitePolicy, terms: RoundTerms, cohort: CohortCount, now: datetime) -> Situation:
        expected, fault = _expected(terms, cohort.cases)
        try:
            forecast = self._records.forecast(terms, expected, delta=policy.privacy.delta, now=now)
        except PrivacySettingsError as beyond:
            forecast, fault = Forecast(Cost(math.inf), Cost(math.inf)), str(beyond)
        return Situation(
            participation=self._records.participation(terms.federation),
            cohort=cohort,
            forecast=forecast,
            begun=self._records.has_begun(terms),
            cost_fault=fault,
            backend=self._backend,
            threads=policy.machine.cpu_threads,  # the worker asks the policy for them
            gpu=allowed_device(policy, self._device) == "cuda",
        )


def allowed_device(policy: SitePolicy, wanted: str) -> str:
    """The device that a worker may use: "auto" looks for a GPU only where the policy allows one.

    Args:
        policy: The site's.
        wanted: auto, cpu or cuda; an explicit cuda stays, for the rule on machines to refuse.
    """
    return "cpu" if wanted == "auto" and not policy.machine.gpu else wanted


def _expected(terms: RoundTerms, patients: int) -> tuple[Spending | None, str]:
    """What the round's training will cost each patient here, and why it cannot be what the terms promise."""
    if not terms.privacy.record_noise or not patients:
        return None, ""
    try:
        return spending_of_round(terms, patients), ""
    except (PrivacySettingsError, PrivacyBudgetError) as fault:
        return None, str(fault)

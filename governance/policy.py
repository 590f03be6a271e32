"""The governance policy as data: thresholds, intervals, and who may do what; checked when it is read.

A policy that is empty, has a key too many or too few, a number out of range, or contradicts itself is refused whole:
there is no half of a policy.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any, Final

from governance.canonical import Canonical, digest
from governance.errors import PolicyError

VERSION: Final = 1
ATTRIBUTES: Final = ("sex", "age", "ethnicity", "site")
"""What people are told apart by."""


class OfficerRole(StrEnum):
    """What a person is in the governance of the hospital's models."""

    ETHICS_OFFICER = "ethics-officer"
    RADIOLOGIST = "radiologist"
    DATA_STEWARD = "data-steward"
    AUDITOR = "auditor"
    ADMINISTRATOR = "administrator"


class Act(StrEnum):
    """What is done to a model, a policy or a person's data, and needs a role and a signature."""

    RELEASE = "release"
    OVERRIDE = "override"
    """Releasing a model whose audit failed."""
    HALT = "halt"
    RESUME = "resume"
    CHANGE_POLICY = "change-policy"
    ENROL = "enrol"
    """Giving an officer a key, or taking it away."""
    ERASE = "erase"
    """Removing what is held on a patient."""
    ISSUE_REPORT = "issue-report"


@dataclass(frozen=True)
class Fairness:
    """When a model is called biased.

    Attributes:
        bias_threshold: Of the bias score, 0 to 1; see governance.fairness.
        confidence: Of the intervals, e.g. 0.95.
        minimum_group: Fewest cases of a group that is judged; with fewer there is insufficient evidence.
        attributes: Of ATTRIBUTES.
    """

    bias_threshold: float
    confidence: float
    minimum_group: int
    attributes: tuple[str, ...]


@dataclass(frozen=True)
class PrivacyRules:
    """What may be learned of a patient.

    Attributes:
        epsilon_limit: That a patient's record may cost in one federated run.
        inversion_limit: Upper bound of the share of updates from which a patient's image may be reconstructed.
        membership_limit: Upper bound of the true-positive rate of membership inference at 1 % false positives.
    """

    epsilon_limit: float
    inversion_limit: float
    membership_limit: float


@dataclass(frozen=True)
class Performance:
    """What a model must reach.

    Attributes:
        whole_tumour_dice: Mean over the audit's cases, lower end of its interval.
        worst_group_dice: Mean of the worst group of a sufficient size.
        robust_dice_drop: Largest loss of Dice under the audit's perturbations.
    """

    whole_tumour_dice: float
    worst_group_dice: float
    robust_dice_drop: float


@dataclass(frozen=True)
class Interpretability:
    """How well explanations must follow the model.

    Attributes:
        local_fidelity: R2 of a local explanation from which on it counts.
        share_explained: Share of cases whose explanation must reach it.
    """

    local_fidelity: float
    share_explained: float


@dataclass(frozen=True)
class AuditRules:
    """The audit before release.

    Attributes:
        interval_days: How long an audit holds.
        required: Names of the controls that must pass; the others are reported.
    """

    interval_days: int
    required: tuple[str, ...]


@dataclass(frozen=True)
class Monitoring:
    """When a running model halts itself.

    Attributes:
        minimum_cases: Reviewed cases before anything is concluded.
        window: Of the newest cases that are looked at.
        false_halt_rate: Chance that an unbiased model is ever halted, over a window's life.
        rejection_limit: Share of results that radiologists may reject.
        drift_limit: Significance of a drift test, e.g. 0.001: below it the inputs have drifted.
        failure_limit: Share of analyses that may fail.
    """

    minimum_cases: int
    window: int
    false_halt_rate: float
    rejection_limit: float
    drift_limit: float
    failure_limit: float


@dataclass(frozen=True)
class GovernancePolicy:
    """All of it.

    Attributes:
        name: For people.
        minimum_sites: Of a federated round.
        roles: Who may do what; each act has at least one role.
        approvals: How many different officers an act needs.
    """

    name: str
    fairness: Fairness
    privacy: PrivacyRules
    performance: Performance
    interpretability: Interpretability
    audit: AuditRules
    monitoring: Monitoring
    minimum_sites: int
    roles: Mapping[Act, frozenset[OfficerRole]]
    approvals: Mapping[Act, int]

    @property
    def digest(self) -> str:
        """Of what it says, whatever its comments and order."""
        return digest(to_canonical(self))

    def may(self, role: str, act: Act) -> bool:
        """Whether a role may do something."""
        return role in self.roles[act]


def parse_policy(document: Mapping[str, Any]) -> GovernancePolicy:
    """Check a policy.

    Args:
        document: As read from YAML or JSON.

    Raises:
        PolicyError: It is empty, has unknown or missing keys, a value out of range, or contradicts itself.
    """
    if not document:
        raise PolicyError("The governance policy is empty: nothing is allowed. Start from the one that is shipped.")
    names = ("version", *(each.name for each in fields(GovernancePolicy)))
    _check_keys("the policy", document, names)
    if document["version"] != VERSION:
        raise PolicyError(f"version: expected {VERSION}, got {document['version']!r}.")
    policy = GovernancePolicy(
        name=_text("name", document["name"]),
        fairness=_fairness(_section(document, "fairness", Fairness)),
        privacy=_numbers("privacy", _section(document, "privacy", PrivacyRules), PrivacyRules),
        performance=_numbers("performance", _section(document, "performance", Performance), Performance),
        interpretability=_numbers(
            "interpretability", _section(document, "interpretability", Interpretability), Interpretability
        ),
        audit=_audit(_section(document, "audit", AuditRules)),
        monitoring=_monitoring(_section(document, "monitoring", Monitoring)),
        minimum_sites=_count("minimum_sites", document["minimum_sites"]),
        roles={act: _roles(act, each) for act, each in _acts("roles", document["roles"]).items()},
        approvals={
            act: _count(f"approvals.{act}", each) for act, each in _acts("approvals", document["approvals"]).items()
        },
    )
    _check_consistent(policy)
    return policy


def to_canonical(policy: GovernancePolicy) -> Mapping[str, Canonical]:
    """The policy as canonical values: what is hashed, signed and recorded."""
    found = _canonical({"version": VERSION, **asdict(policy)})
    if not isinstance(found, Mapping):
        raise TypeError("A mapping stays a mapping.")
    return found


def _check_consistent(policy: GovernancePolicy) -> None:
    """Refuse what could never be fulfilled, or undoes itself."""
    read_only = [act for act, roles in policy.roles.items() if OfficerRole.AUDITOR in roles]
    if read_only:
        raise PolicyError(f"roles.{read_only[0]}: an auditor reads only; take the role out.")
    if policy.approvals[Act.OVERRIDE] < 2:
        raise PolicyError("approvals.override: releasing a model whose audit failed takes two officers at least.")
    if policy.approvals[Act.OVERRIDE] < policy.approvals[Act.RELEASE]:
        raise PolicyError("approvals.override: an override must not be easier than a release.")
    monitoring, smallest = policy.monitoring, policy.fairness.minimum_group
    if monitoring.window < monitoring.minimum_cases:
        raise PolicyError("monitoring: window is smaller than minimum_cases, so nothing would ever be concluded.")
    if monitoring.window < 2 * smallest:
        raise PolicyError(
            "monitoring.window is smaller than two groups of fairness.minimum_group cases: no bias could ever be found."
        )
    if policy.performance.worst_group_dice > policy.performance.whole_tumour_dice:
        raise PolicyError("performance: the worst group cannot be asked for more than the mean of all groups.")


def _section(document: Mapping[str, Any], name: str, kind: type) -> Mapping[str, Any]:
    found = document[name]
    if not isinstance(found, Mapping):
        raise PolicyError(f"{name}: expected keys, got {type(found).__name__}.")
    _check_keys(name, found, [each.name for each in fields(kind)])
    return found


def _check_keys(where: str, found: Mapping[str, Any], wanted: Any) -> None:
    missing, unknown = [name for name in wanted if name not in found], [name for name in found if name not in wanted]
    if missing:
        raise PolicyError(f"{where}: {', '.join(missing)} missing.")
    if unknown:
        raise PolicyError(f"{where}: {', '.join(map(str, unknown))} unknown; expected {', '.join(wanted)}.")


def _numbers(where: str, found: Mapping[str, Any], kind: type) -> Any:
    # Each is a share, but the privacy loss.
    return kind(
        **{
            name: _positive(f"{where}.{name}", value) if name == "epsilon_limit" else _share(f"{where}.{name}", value)
            for name, value in found.items()
        }
    )


def _fairness(found: Mapping[str, Any]) -> Fairness:
    attributes = _names("fairness.attributes", found["attributes"])
    unknown = set(attributes) - set(ATTRIBUTES)
    if unknown:
        raise PolicyError(f"fairness.attributes: expected some of {', '.join(ATTRIBUTES)}, got {', '.join(unknown)}.")
    confidence = _share("fairness.confidence", found["confidence"])
    if not 0.5 <= confidence < 1:
        raise PolicyError(f"fairness.confidence: expected 0.5 to below 1, got {confidence}.")
    threshold = _share("fairness.bias_threshold", found["bias_threshold"])
    return Fairness(threshold, confidence, _count("fairness.minimum_group", found["minimum_group"]), attributes)


def _audit(found: Mapping[str, Any]) -> AuditRules:
    return AuditRules(
        _count("audit.interval_days", found["interval_days"]), _names("audit.required", found["required"])
    )


def _monitoring(found: Mapping[str, Any]) -> Monitoring:
    whole = {name: _count(f"monitoring.{name}", found[name]) for name in ("minimum_cases", "window")}
    shares: dict[str, Any] = {
        name: _share(f"monitoring.{name}", value) for name, value in found.items() if name not in whole
    }
    if not 0 < shares["false_halt_rate"] < 1:
        raise PolicyError("monitoring.false_halt_rate: expected a share between 0 and 1.")
    return Monitoring(**whole, **shares)


def _acts(where: str, found: Any) -> Mapping[Act, Any]:
    if not isinstance(found, Mapping):
        raise PolicyError(f"{where}: expected an entry for each act, got {type(found).__name__}.")
    _check_keys(where, found, [act.value for act in Act])
    return {Act(name): value for name, value in found.items()}


def _roles(act: Act, found: Any) -> frozenset[OfficerRole]:
    names = _names(f"roles.{act}", found)
    known = {role.value for role in OfficerRole}
    unknown = set(names) - known
    if unknown:
        raise PolicyError(
            f"roles.{act}: expected some of {', '.join(sorted(known))}, got {', '.join(sorted(unknown))}."
        )
    return frozenset(map(OfficerRole, names))


def _names(where: str, found: Any) -> tuple[str, ...]:
    if not isinstance(found, list | tuple) or not found or not all(isinstance(each, str) and each for each in found):
        raise PolicyError(f"{where}: expected a list of names, at least one.")
    if len(set(found)) != len(found):
        raise PolicyError(f"{where}: a name comes twice.")
    return tuple(found)


def _text(where: str, found: Any) -> str:
    if not isinstance(found, str) or not found.strip():
        raise PolicyError(f"{where}: expected a text.")
    return found.strip()


def _count(where: str, found: Any) -> int:
    if not isinstance(found, int) or isinstance(found, bool) or found < 1:
        raise PolicyError(f"{where}: expected a whole number from 1, got {found!r}.")
    return found


def _share(where: str, found: Any) -> float:
    number = _number(where, found)
    if not 0 <= number <= 1:
        raise PolicyError(f"{where}: expected 0 to 1, got {found!r}.")
    return number


def _positive(where: str, found: Any) -> float:
    number = _number(where, found)
    if not 0 < number < float("inf"):
        raise PolicyError(f"{where}: expected a number above 0, got {found!r}.")
    return number


def _number(where: str, found: Any) -> float:
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise PolicyError(f"{where}: expected a number, got {type(found).__name__}.")
    return float(found)


def _canonical(value: Any) -> Canonical:
    match value:
        case float():
            return repr(value)
        case Mapping():
            return {str(name): _canonical(each) for name, each in value.items()}
        case frozenset():
            return sorted(map(str, value))
        case list() | tuple():
            return [_canonical(each) for each in value]
        case _:
            found: Canonical = value
            return found

"""How much each instrument looks at by default, so that an audit ends within minutes on one core."""

from dataclasses import dataclass, field

from federated.auditing.adversarial import AttackSettings
from federated.auditing.gradient_inversion import InversionSettings
from federated.errors import EvaluationError


@dataclass(frozen=True)
class AuditBudget:
    """Limits of all instruments together.

    On one busy core the shipped model, at 2 mm, took 0.5 s a look, 10 s an attacked patch, 10 s an inversion trial and
    16 s a case under all stresses: at most eight minutes together. The tiny preset's network, at 4 mm, took 0.13 s,
    4 s, 6 s and 3 s: three minutes.

    Attributes:
        embedded_cases: Of embeddings.case_embeddings; each costs one look.
        bounded_cases: Of lipschitz.head_lipschitz.
        attacked_cases, attacks: Of adversarial.attack_model.
        inversion_trials, inversion: Of gradient_inversion.inversion_trials.
        membership_cases: Of each kind, of membership_inference.membership_inference.
        boundary_cases: Of boundaries.find_boundaries; each costs about twenty looks.
    """

    embedded_cases: int = 100
    bounded_cases: int = 4
    attacked_cases: int = 10
    attacks: AttackSettings = field(default_factory=AttackSettings)
    inversion_trials: int = 10
    inversion: InversionSettings = field(default_factory=lambda: InversionSettings(iterations=60))
    membership_cases: int = 100
    boundary_cases: int = 12


def budget_for(spacing_mm: float) -> AuditBudget:
    """The default for a model's grid: whole heads at 4 mm and coarser, patches and fewer cases on finer ones.

    Raises:
        EvaluationError: The spacing is not above 0.
    """
    if not spacing_mm > 0:
        raise EvaluationError(f"Expected a spacing above 0 mm, got {spacing_mm!r}.")
    if spacing_mm >= 3:
        return AuditBudget()
    return AuditBudget(
        attacks=AttackSettings(patch=(48, 48, 48)),
        boundary_cases=10,
    )

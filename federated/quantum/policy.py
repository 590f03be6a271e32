"""What a site allows a quantum service to be given, and to cost."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from types import MappingProxyType

from federated.errors import QuantumBudgetError, QuantumPermissionError, ShotsError


@dataclass(frozen=True)
class GateCounts:
    """How many operations a program has, as prices count them."""

    one_qubit: int
    two_qubit: int
    measurements: int


@dataclass(frozen=True)
class Price:
    """What a target charges for a job, in the policy's currency; contracts differ, so a site states its own.

    job + shots * (shot + one_qubit * gates + two_qubit * gates + measurement * measurements), or least if that is more.
    This is how IonQ (per gate and shot, with a least price) and Quantinuum (credits: 5 + shots / 5000 * (gates of one
    qubit + 10 * gates of two + 5 * measurements)) charge.

    Raises:
        QuantumBudgetError: A part is negative or not a finite number.
    """

    job: Decimal = Decimal(0)
    shot: Decimal = Decimal(0)
    one_qubit: Decimal = Decimal(0)
    two_qubit: Decimal = Decimal(0)
    measurement: Decimal = Decimal(0)
    least: Decimal = Decimal(0)

    def __post_init__(self) -> None:
        """Check each part."""
        for name, part in vars(self).items():
            _check_amount(f"The price's part {name!r}", part)

    def cost(self, gates: GateCounts, shots: int) -> Decimal:
        """What one job costs."""
        shot = (
            self.shot
            + self.one_qubit * gates.one_qubit
            + self.two_qubit * gates.two_qubit
            + self.measurement * gates.measurements
        )
        return max(self.job + shots * shot, self.least)


@dataclass(frozen=True)
class Spent:
    """What all jobs so far were charged with."""

    shots: int = 0
    cost: Decimal = Decimal(0)


@dataclass(frozen=True)
class Estimate:
    """What a batch of circuits would take, before any of it is sent.

    Attributes:
        circuits: Different circuits asked for.
        cached: Of these, how many have a result or a job already, so that nothing is charged.
        shots: Of all new jobs together.
        cost: Of all new jobs together.
        left: What the budget still allows now, before this batch.
    """

    target: str
    circuits: int
    cached: int
    shots: int
    cost: Decimal
    currency: str
    left: Spent

    def __str__(self) -> str:
        """One line for a person who has to agree."""
        return (
            f"{self.circuits} circuits on {self.target}, {self.cached} of them done or under way: "
            f"{self.shots} new shots for {self.cost} {self.currency}; "
            f"left {self.left.shots} shots and {self.left.cost} {self.currency}"
        )


@dataclass(frozen=True)
class QuantumPolicy:
    """A site's rules; the default allows nothing to leave.

    Attributes:
        prices: The targets that may be used, by name, with what each charges. No other is ever used.
        egress_allowed: Whether circuits may leave the site. Their angles derive from patients' images.
        permission: Who allowed it and when, as the site's records name it; goes into every record of egress.
        fallback_allowed: Whether a local simulator may stand in while the service is away. Records then say so.
        max_shots, max_cost: The most that all jobs of the site together may take.
        currency: Of the prices and of max_cost.

    Raises:
        ShotsError: A budget of less than one shot.
        QuantumBudgetError: max_cost is negative or not finite.
        QuantumPermissionError: Egress is allowed without saying by whom.
    """

    prices: Mapping[str, Price] = field(default_factory=dict)
    egress_allowed: bool = False
    permission: str = ""
    fallback_allowed: bool = False
    max_shots: int = 100_000
    max_cost: Decimal = Decimal(0)
    currency: str = "USD"

    def __post_init__(self) -> None:
        """Check each rule."""
        check_shots(self.max_shots, "a budget")
        _check_amount("The largest cost", self.max_cost)
        if self.egress_allowed and not self.permission.strip():
            raise QuantumPermissionError(
                "Expected who permitted that angles leave the site, got nothing. "
                "Name the decision in QFL_QUANTUM_PERMISSION."
            )
        object.__setattr__(self, "prices", MappingProxyType(dict(self.prices)))

    @property
    def allowed_targets(self) -> tuple[str, ...]:
        """By name, in alphabetical order."""
        return tuple(sorted(self.prices))

    def check_egress(self, target: str) -> None:
        """Make sure that circuits may be sent to a target.

        Raises:
            QuantumPermissionError: Nothing may leave the site, or not to there; names the setting.
        """
        if not self.egress_allowed:
            raise QuantumPermissionError(
                "This site does not allow circuits to leave it: their angles derive from patients' images. "
                "To allow it, set QFL_QUANTUM_ALLOW_EGRESS=yes and name the decision in QFL_QUANTUM_PERMISSION."
            )
        self.price(target)

    def price(self, target: str) -> Price:
        """What a target charges.

        Raises:
            QuantumPermissionError: The site allows other targets only.
        """
        if target not in self.prices:
            allowed = ", ".join(self.allowed_targets) or "none"
            raise QuantumPermissionError(
                f"Expected a target that this site allows ({allowed}), got {target!r}. "
                "To allow it, state its price in QFL_QUANTUM_PRICES."
            )
        return self.prices[target]

    def estimate(
        self, target: str, new: Sequence[GateCounts], shots: int, *, cached: int = 0, spent: Spent | None = None
    ) -> Estimate:
        """Say what a batch would take.

        Args:
            target: Where it would run.
            new: Operations of each circuit that would be sent.
            shots: Of each circuit.
            cached: Circuits of the batch that need not be sent again.
            spent: What all jobs before were charged with.

        Raises:
            ShotsError: Fewer than one shot.
            QuantumPermissionError: The site does not allow the target.
        """
        check_shots(shots)
        price, before = self.price(target), spent or Spent()
        return Estimate(
            target=target,
            circuits=cached + len(new),
            cached=cached,
            shots=shots * len(new),
            cost=sum((price.cost(gates, shots) for gates in new), Decimal(0)),
            currency=self.currency,
            left=Spent(self.max_shots - before.shots, self.max_cost - before.cost),
        )

    def check_budget(self, estimate: Estimate) -> None:
        """Make sure that a batch fits into what is left.

        Raises:
            QuantumBudgetError: It would take more shots or money; nothing has been charged.
        """
        for name, needed, left, unit, setting in (
            ("shots", estimate.shots, estimate.left.shots, "shots", "QFL_QUANTUM_MAX_SHOTS"),
            ("cost", estimate.cost, estimate.left.cost, estimate.currency, "QFL_QUANTUM_MAX_COST"),
        ):
            if needed and needed > left:
                raise QuantumBudgetError(
                    f"The {name} would pass the site's budget: expected at most {left} {unit}, got {needed} {unit} for "
                    f"{estimate.circuits - estimate.cached} new circuits on {estimate.target}. "
                    f"Ask for less, or raise {setting}."
                )


def check_shots(shots: int, what: str = "a circuit") -> None:
    """Make sure that shots are a whole number from 1.

    Raises:
        ShotsError: They are not.
    """
    if isinstance(shots, bool) or not isinstance(shots, int) or shots < 1:
        raise ShotsError(f"Expected at least 1 shot for {what}, got {shots!r}.")


def _check_amount(name: str, amount: Decimal) -> None:
    if not isinstance(amount, Decimal) or not math.isfinite(amount) or amount < 0:
        raise QuantumBudgetError(f"{name} is expected to be a finite amount from 0, got {amount!r}.")

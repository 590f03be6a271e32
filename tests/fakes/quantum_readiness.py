"""A readiness report without the work, each number given."""

from federated.quantum.circuit import Circuit
from federated.quantum.error_correction import Memory, Suppression
from federated.quantum.expectation_error import Accuracy, ExpectationTest
from federated.quantum.noise_rates import SUPERCONDUCTING
from federated.quantum.quantum_volume import VolumeTest
from federated.quantum.readiness import ReadinessReport


def readiness_report(
    *,
    error: float = 0.01,
    mitigated: float = 0.004,
    heavy_outputs: tuple[float, ...] = (0.79, 0.81, 0.8, 0.8, 0.77),
    suppression: Suppression | None = None,
    errors: tuple[int, int, int] = (1000, 500, 250),
) -> ReadinessReport:
    """Make a report; all three answers are yes unless something is changed."""
    return ReadinessReport(
        device="noise model",
        rates=SUPERCONDUCTING,
        circuit=Circuit(4),
        seed=0,
        expectations=tuple(
            ExpectationTest(scale, Accuracy(error * scale, 0.97), Accuracy(mitigated * scale, 0.98))
            for scale in (0.5, 1.0, 2.0)
        ),
        volume=tuple(VolumeTest(wires, 100, share) for wires, share in enumerate(heavy_outputs, 2)),
        memories=tuple(
            Memory(distance, 3 * distance, 20_000, wrong) for distance, wrong in zip((3, 5, 7), errors, strict=True)
        ),
        suppression=suppression or Suppression(1.8, (1.7, 1.9), 35, (33, 37), is_noise_only=False),
    )

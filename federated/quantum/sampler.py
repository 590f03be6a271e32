"""What counts measurements: a port, and the simulator on this machine. No torch, so that commands start fast."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Protocol

from federated.quantum.policy import check_shots
from federated.quantum.qasm import compile_qir


class Sampler(Protocol):
    """Runs programs and counts what was measured."""

    def counts(self, programs: Sequence[str], shots: int) -> Sequence[Mapping[str, int]]:
        """Run each program.

        Args:
            programs: OpenQASM 3, each measuring all its wires once at the end; see federated.quantum.qasm.
            shots: How often each program runs.

        Returns:
            For each program, bitstring (wire 0 first) to how often it was measured. The counts add up to the shots, or
            to fewer where a quantum computer has lost some.

        Raises:
            ShotsError: Fewer than one shot.
            QuantumError: What the sampler's own documentation says.
        """


class LocalSampler:
    """Runs the QIR of each program on qdk's state-vector simulator: the same bits go in as on a quantum computer."""

    def __init__(self, seed: int | None = None) -> None:
        """Make a sampler.

        Args:
            seed: With it the same program gives the same counts, whatever it is run together with; without, each run
                draws anew.
        """
        self._seed = seed

    def counts(self, programs: Sequence[str], shots: int) -> Sequence[Mapping[str, int]]:
        """See Sampler.

        Raises:
            ShotsError: Fewer than one shot.
            CircuitInputError: A program that qdk cannot compile.
        """
        check_shots(shots)
        return [self._run(program, shots) for program in programs]

    def _run(self, program: str, shots: int) -> Mapping[str, int]:
        from qdk import Result, simulation

        runs = simulation.run_qir(compile_qir(program), shots=shots, seed=self._seed_of(program), type="cpu")
        return dict(Counter("".join("1" if result == Result.One else "0" for result in run) for run in runs))

    def _seed_of(self, program: str) -> int | None:
        if self._seed is None:
            return None
        digest = hashlib.sha256(f"{self._seed}\n{program}".encode()).digest()
        return int.from_bytes(digest[:4], "big")  # the simulator takes 32 bits

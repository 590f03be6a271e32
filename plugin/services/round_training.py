"""Round work on the site's own cases: imports torch, so only a worker that is at it imports this."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from federated.energy import Meter, describe_energy
from federated.local_work import do_work
from federated.numerics import choose_device
from federated.rounds.messages import Progress
from federated.rounds.ports import LocalResult
from federated.rounds.terms import RoundTerms
from plugin.services.round_work import Assignment
from plugin.services.site_cohort import SiteCohort


@dataclass(frozen=True)
class RoundTraining:
    """Performs assignments.

    Attributes:
        site: This site's name in the federation.
        cohort: Gives the cases of a round, prepared.
        machine: Says what may be used at this moment: auto, cpu or cuda, and CPU threads.
    """

    site: str
    cohort: Callable[[RoundTerms], SiteCohort]
    machine: Callable[[], tuple[str, int]]

    def __call__(
        self, assignment: Assignment, *, state: Path, checkpoints: Path, report: Callable[[Progress], None]
    ) -> LocalResult | Mapping[str, Any]:
        """Train, or measure; see federated.local_work.do_work. Joules count from here, with the preparation."""
        named, threads = self.machine()
        device = choose_device(named)
        meter = Meter(_gpu(device))
        torch.set_num_threads(threads)

        def tell(progress: Progress) -> None:
            meter.look()
            report(progress)

        cohort = self.cohort(assignment.terms)
        tell(Progress())  # preparing may have taken long
        found = do_work(
            assignment.terms,
            assignment.stage,
            assignment.weights,
            assignment.extras,
            cohort.split,
            site=self.site,
            state=state,
            checkpoints=checkpoints,
            device=device,
            report=tell,
            people=cohort.people,
        )
        joules = describe_energy(meter.read())
        if isinstance(found, LocalResult):
            return replace(found, figures={**found.figures, **joules})
        return {**found, **joules}


def _gpu(device: torch.device) -> str | None:
    """UUID of a GPU as its driver writes it."""
    return f"GPU-{torch.cuda.get_device_properties(device).uuid}" if device.type == "cuda" else None

"""One masked sum, measured: what the secure-aggregation benchmark compares."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Update = npt.NDArray[np.float32]
CLIP = 8.0


COORDINATOR, HARNESS = "coordinator", "harness"


@dataclass
class Run:
    """What a protocol cost.

    Attributes:
        cpu_s: CPU seconds by who used them: a site, from its plain update to its last message; COORDINATOR; or
            HARNESS, which stands in for the network and counts for nobody.
        bytes_up: By site, all that it sent.
        bytes_down: By site, all that it got beside the model itself.
        error: Largest difference of the mean update from the exact one, over the range of numbers.
    """

    cpu_s: dict[str, float] = field(default_factory=dict)
    bytes_up: dict[str, int] = field(default_factory=dict)
    bytes_down: dict[str, int] = field(default_factory=dict)
    error: float = float("nan")
    _inner_s: float = 0.0

    @contextmanager
    def charge(self, who: str) -> Iterator[None]:
        """Charge a block's CPU time, less that of blocks within it."""
        outer, self._inner_s, start = self._inner_s, 0.0, time.process_time()
        yield
        used = time.process_time() - start
        self.cpu_s[who] = self.cpu_s.get(who, 0.0) + used - self._inner_s
        self._inner_s = outer + used

    def sent(self, site: str, number: int) -> None:
        """Count bytes from a site."""
        self.bytes_up[site] = self.bytes_up.get(site, 0) + number

    def got(self, site: str, number: int) -> None:
        """Count bytes to a site."""
        self.bytes_down[site] = self.bytes_down.get(site, 0) + number

    def costs(self, dropped: Sequence[str]) -> dict[str, float]:
        """The largest of each cost over the sites that stayed, and the coordinator's."""
        stayed = [site for site in self.bytes_up if site not in dropped]
        return {
            "site_cpu_s": max(self.cpu_s[site] for site in stayed),
            "coordinator_cpu_s": self.cpu_s[COORDINATOR],
            "bytes_up": max(self.bytes_up[site] for site in stayed),
            "bytes_down": max(self.bytes_down[site] for site in stayed),
            "error": self.error,
        }


def site_names(count: int) -> list[str]:
    """Names of the benchmark's sites, sorted."""
    return [f"site-{number:02}" for number in range(count)]


def make_updates(sites: int, parameters: int) -> dict[str, Update]:
    """Gaussian updates of standard deviation 1, fixed by the number of the site."""
    return {
        name: np.random.default_rng(number).standard_normal(parameters, np.float32)
        for number, name in enumerate(site_names(sites))
    }


def exact_mean(updates: Mapping[str, Update], dropped: Sequence[str]) -> npt.NDArray[np.float64]:
    """The mean update of the sites that stayed, in double precision."""
    kept = [update for name, update in updates.items() if name not in dropped]
    return np.clip(np.mean(kept, axis=0, dtype=np.float64), -CLIP, CLIP)

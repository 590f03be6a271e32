"""What a computation takes of the machine: seconds, and joules of processor and GPU.

The processor is measured by RAPL where its counters can be read (Linux, powercap): they count all of the package, of
which this process is given its share of the busy CPU time, so that several sites on one machine do not each claim it
whole. Elsewhere the processor is estimated: codecarbon's power for the CPU's model, for the CPU time that was used.
A GPU is measured by its driver's counter (NVML), also whole; memory, disks and cooling are not counted.
"""

import logging
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal, get_args

EnergySource = Literal["rapl", "estimate", "rapl+nvml", "estimate+nvml"]
"""How joules are known; an estimate is nothing that was measured."""
ENERGY_SOURCES: Final[tuple[str, ...]] = get_args(EnergySource)
POWERCAP: Final = Path("/sys/class/powercap")
MACHINE: Final = Path("/proc/stat")
_MICRO: Final = 1e-6
_MILLI: Final = 1e-3
# man 5 proc_stat: user nice system idle iowait irq softirq; steal and guests are nothing that this machine did.
_BUSY: Final = (0, 1, 2, 5, 6)


@dataclass(frozen=True)
class Energy:
    """What was taken until now.

    Attributes:
        seconds: By the clock.
        cpu_seconds: Of this process, all its threads.
        joules: None where there is a GPU that cannot be measured.
        source: How joules are known; None with them.
    """

    seconds: float
    cpu_seconds: float
    joules: float | None
    source: EnergySource | None


class Meter:
    """Counts from when it is made; a process's first one takes a second or more where the processor is estimated."""

    def __init__(self, gpu: str | None = None, *, powercap: Path = POWERCAP, machine: Path = MACHINE) -> None:
        """Begin.

        Args:
            gpu: UUID of the GPU that is used, as its driver writes it; None for none.
            powercap: Where the kernel shows RAPL.
            machine: Where it shows the machine's CPU times.
        """
        self._machine = machine
        self._rapl = _rapl_counters(powercap) if _busy_seconds(machine) is not None else {}
        self._packages = _read_rapl(self._rapl) or {}
        self._is_measured = bool(self._packages)
        if not self._is_measured:
            watts_per_cpu()  # here, so that looking the model up is not counted
        self._busy = _busy_seconds(machine)
        self._cpu_joules = 0.0
        self._gpu = gpu
        self._gpu_began = _gpu_joules(gpu) if gpu else 0.0
        self._began = time.monotonic()
        self._began_cpu = self._looked_cpu = time.process_time()

    def look(self) -> None:
        """Count what was taken until now; costs next to nothing. A counter that runs over twice unseen loses energy."""
        cpu = time.process_time()
        if self._is_measured:
            self._count_packages(cpu - self._looked_cpu)
        self._looked_cpu = cpu

    def read(self) -> Energy:
        """Give what was taken until now."""
        self.look()
        seconds, taken = time.monotonic() - self._began, self._looked_cpu - self._began_cpu
        gpu = self._gpu_taken()
        if gpu is None:
            return Energy(seconds, taken, None, None)
        processor = self._cpu_joules if self._is_measured else taken * watts_per_cpu()
        return Energy(seconds, taken, processor + gpu, self._source)

    @property
    def _source(self) -> EnergySource:
        if self._gpu:
            return "rapl+nvml" if self._is_measured else "estimate+nvml"
        return "rapl" if self._is_measured else "estimate"

    def _gpu_taken(self) -> float | None:
        if not self._gpu:
            return 0.0
        now = _gpu_joules(self._gpu)
        return None if now is None or self._gpu_began is None else max(0.0, now - self._gpu_began)

    def _count_packages(self, cpu: float) -> None:
        """Add what the packages took since the last look, as far as this process was the reason."""
        packages, busy = _read_rapl(self._rapl), _busy_seconds(self._machine)
        if packages is None or busy is None or self._busy is None:
            # The counters went away: what they counted is too little, and the estimate takes over.
            self._is_measured = False
            return
        taken = sum((now - self._packages[name]) % self._rapl[name] for name, now in packages.items())
        # The kernel's ticks are coarse: in a short while the process may seem to have used more than there was.
        self._cpu_joules += taken * min(1.0, cpu / max(busy - self._busy, cpu, 1e-9))
        self._packages, self._busy = packages, busy


def describe_energy(energy: Energy) -> dict[str, Any]:
    """The figures that a site tells of a round, as JSON."""
    joules = None if energy.joules is None else round(energy.joules, 3)
    return {"joules": joules, "energy_source": energy.source}


@cache
def watts_per_cpu() -> float:
    """Of one busy logical CPU of this machine: the thermal design power that codecarbon knows of its model, shared out.

    It asks the operating system for the model, and nobody else; it starts no tracker, writes no file and tells nobody.
    """
    from codecarbon.core.cpu import DEFAULT_POWER_PER_CORE, TDP

    # That it does not know a model is no news: it is what the word "estimate" says.
    logging.getLogger("codecarbon").setLevel(logging.ERROR)
    power, count = TDP().tdp, os.cpu_count() or 1  # type: ignore[no-untyped-call]
    return float(power) / count if power else float(DEFAULT_POWER_PER_CORE)


def _rapl_counters(powercap: Path) -> dict[Path, float]:
    """Readable counters of whole packages, each with the joules after which it begins anew."""
    found: dict[Path, float] = {}
    try:
        # intel-rapl:0 is a package (also of AMD), intel-rapl:0:1 a part of it, psys a sum over packages.
        for zone in sorted(powercap.glob("intel-rapl:*")):
            if zone.name.count(":") == 1 and (zone / "name").read_text().startswith("package"):
                found[zone / "energy_uj"] = int((zone / "max_energy_range_uj").read_text()) * _MICRO
    except (OSError, ValueError):
        return {}
    return {counter: span for counter, span in found.items() if span > 0}


def _read_rapl(counters: Mapping[Path, float]) -> dict[Path, float] | None:
    """Joules by counter; None where one cannot be read, which since 2020 only root can (CVE-2020-8694)."""
    try:
        return {counter: int(counter.read_text()) * _MICRO for counter in counters}
    except (OSError, ValueError):
        return None


def _busy_seconds(machine: Path) -> float | None:
    """CPU seconds that the machine was busy since it started."""
    try:
        ticks = machine.read_text().splitlines()[0].split()[1:]
        return sum(int(ticks[index]) for index in _BUSY) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return None


def _gpu_joules(uuid: str) -> float | None:
    """What a GPU took since its driver was loaded; None where the driver does not say."""
    import pynvml  # type: ignore[import-untyped]

    try:
        pynvml.nvmlInit()
        try:
            handle = pynvml.nvmlDeviceGetHandleByUUID(uuid.encode())
            return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)) * _MILLI
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError:
        return None

"""Joules: measured where there are counters, estimated where not, never a failure and never less than before."""

import threading
import time

import pytest

from federated import energy
from federated.energy import ENERGY_SOURCES, Meter, describe_energy

JOULE = 1_000_000
WRAP = 1000 * JOULE


class Machine:
    """A machine whose counters a test turns."""

    def __init__(self, folder):
        self.powercap, self.stat = folder / "powercap", folder / "stat"
        self.zones = {}
        self.add("intel-rapl:0", "package-0", 999 * JOULE)
        self.add("intel-rapl:0:0", "core", 5 * JOULE)
        self.add("intel-rapl:1", "psys", 5 * JOULE)
        self.spend(0, 0)

    def add(self, zone, name, joules):
        folder = self.powercap / zone
        folder.mkdir(parents=True)
        (folder / "name").write_text(f"{name}\n")
        (folder / "max_energy_range_uj").write_text(f"{WRAP}\n")
        (folder / "energy_uj").write_text(f"{joules}\n")
        self.zones[zone] = joules

    def spend(self, joules, busy_s):
        self.busy = getattr(self, "busy", 1000.0) + busy_s
        for zone in self.zones:
            self.zones[zone] = (self.zones[zone] + joules * JOULE) % WRAP
            (self.powercap / zone / "energy_uj").write_text(f"{int(self.zones[zone])}\n")
        # user nice system idle iowait irq softirq steal
        self.stat.write_text(f"cpu  {int(self.busy * 100)} 0 0 99999 777 0 0 55 0 0\ncpu0 1 2 3\n")

    def meter(self):
        return Meter(powercap=self.powercap, machine=self.stat)


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


@pytest.fixture
def cpu(monkeypatch):
    """The process's CPU seconds, which a test sets."""
    spent = [50.0]
    monkeypatch.setattr(time, "process_time", lambda: spent[0])
    monkeypatch.setattr(energy, "watts_per_cpu", lambda: 4.0)
    return spent


def test_a_process_gets_its_share_of_what_the_package_took(machine, cpu):
    meter = machine.meter()
    machine.spend(30, 10.0)
    cpu[0] += 2.5
    found = meter.read()
    assert found.joules == pytest.approx(30 * 2.5 / 10)
    assert (found.cpu_seconds, found.source) == (2.5, "rapl")


def test_parts_of_a_package_and_sums_over_packages_do_not_count_again(machine, cpu):
    machine.add("intel-rapl:2", "package-1", 0)
    meter = machine.meter()
    machine.spend(10, 1.0)
    cpu[0] += 1.0
    assert meter.read().joules == pytest.approx(20)


def test_a_counter_that_runs_over_loses_nothing(machine, cpu):
    meter = machine.meter()  # at 999 of 1000 J
    for _ in range(3):
        machine.spend(600, 1.0)
        cpu[0] += 1.0
        meter.look()
    assert meter.read().joules == pytest.approx(1800)


def test_coarse_ticks_never_give_a_process_more_than_all(machine, cpu):
    meter = machine.meter()
    machine.spend(10, 0.0)
    cpu[0] += 0.004
    assert meter.read().joules == pytest.approx(10)


def unreadable(machine):
    (machine.powercap / "intel-rapl:0" / "energy_uj").unlink()
    (machine.powercap / "intel-rapl:0" / "energy_uj").mkdir()


def rubbish(machine):
    (machine.powercap / "intel-rapl:0" / "energy_uj").write_text("?\n")


def no_packages(machine):
    (machine.powercap / "intel-rapl:0" / "name").write_text("dram\n")


def no_machine(machine):
    machine.stat.unlink()


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(unreadable, id="unreadable-counter"),
        pytest.param(rubbish, id="no-number"),
        pytest.param(no_packages, id="no-package"),
        pytest.param(no_machine, id="no-cpu-times"),
    ],
)
def test_without_counters_the_cpu_time_is_the_base_of_an_estimate(machine, cpu, spoil):
    spoil(machine)
    meter = machine.meter()
    cpu[0] += 3.0
    found = meter.read()
    assert (found.joules, found.source) == (pytest.approx(12.0), "estimate")


def test_counters_that_go_away_leave_an_estimate_of_the_whole(machine, cpu):
    meter = machine.meter()
    machine.spend(10, 5.0)
    cpu[0] += 5.0
    meter.look()
    unreadable(machine)
    cpu[0] += 1.0
    found = meter.read()
    assert (found.joules, found.source) == (pytest.approx(24.0), "estimate")


def test_a_gpu_that_cannot_be_measured_makes_joules_unknown(machine, cpu, monkeypatch):
    told = [100.0, 350.0]
    monkeypatch.setattr(energy, "_gpu_joules", lambda uuid: told.pop(0))
    meter = Meter("GPU-1", powercap=machine.powercap, machine=machine.stat)
    machine.spend(10, 1.0)
    cpu[0] += 1.0
    found = meter.read()
    assert (found.joules, found.source) == (pytest.approx(260), "rapl+nvml")
    monkeypatch.setattr(energy, "_gpu_joules", lambda uuid: None)
    assert describe_energy(meter.read()) == {"joules": None, "energy_source": None}


def test_no_driver_is_no_failure():
    assert energy._gpu_joules("GPU-0") is None


def test_here_joules_only_grow_and_reading_costs_next_to_nothing():
    threads = threading.active_count()
    meter = Meter()
    found = [meter.read()]
    for _ in range(5):
        began = time.process_time()
        while time.process_time() - began < 0.01:
            pass
        found.append(meter.read())
    joules = [each.joules for each in found]
    assert joules == sorted(joules)
    assert joules[-1] > joules[0]
    assert {each.source for each in found} <= set(ENERGY_SOURCES)
    began = time.process_time()
    for _ in range(20):
        Meter().read()
    assert (time.process_time() - began) / 20 < 0.02
    assert threading.active_count() == threads, "no thread is left"

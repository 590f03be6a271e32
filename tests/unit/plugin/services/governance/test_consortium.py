"""What was halted on the consortium's chain is halted here; a chain that is away stops nothing."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from governance.adapters.ledger_folder import LedgerFolder
from governance.errors import AnchorError
from governance.ports import AnchoredHead, ModelOnChain
from plugin.services.governance.consortium import ANCHOR_EVERY, keep_up
from plugin.services.governance.values import ModelState
from plugin.services.ports import Services
from tests.fakes.ledger_store import review
from tests.fakes.whole_hospital import WholeHospital


@dataclass
class InMemoryChain:
    """Chain that keeps what it is told; it answers nothing while it is away."""

    name: str = "eip155:1:0x" + "0" * 40
    halted: bool = False
    is_away: bool = False
    anchored: list[AnchoredHead] = field(default_factory=list)

    def anchor(self, ledger: bytes, head: AnchoredHead) -> str:
        self.anchored.append(head)
        return "0x" + "1" * 64

    def heads(self, ledger: bytes) -> list[AnchoredHead]:
        return list(self.anchored)

    def model(self, model: bytes) -> ModelOnChain:
        if self.is_away:
            raise AnchorError("The consortium's chain does not answer.")
        return ModelOnChain(not self.halted, self.halted, bytes(32))


def a_hospital(folder: Path, chain: InMemoryChain | None) -> tuple[WholeHospital, Services]:
    hospital = WholeHospital()
    desk = hospital.services.governance
    ledger = replace(desk.ledger, files=LedgerFolder(folder))
    return hospital, replace(hospital.services, governance=replace(desk, chain=lambda: chain, ledger=ledger))


def state_of(services: Services, hospital: WholeHospital) -> ModelState:
    status = services.governance.store.model_status(hospital.segmenter.identity.version)
    assert status is not None
    return status.state


def test_a_model_that_was_halted_there_is_halted_here_with_its_reason(tmp_path: Path) -> None:
    chain = InMemoryChain()
    hospital, services = a_hospital(tmp_path, chain)
    keep_up(services)
    assert state_of(services, hospital) is ModelState.RELEASED
    chain.halted = True
    keep_up(services)
    assert state_of(services, hospital) is ModelState.HALTED
    status = services.governance.store.model_status(hospital.segmenter.identity.version)
    assert status is not None
    assert status.reason_code == "halted-by-consortium"
    entries = services.governance.ledger.last(10)
    decided = [entry for _, entry in entries if entry.kind == "decision-made"]
    assert decided[-1].facts["rule"] == "not-halted-by-consortium"
    assert decided[-1].facts["inputs"]["contract"] == chain.name


def test_anchors_once_an_hour(tmp_path: Path) -> None:
    chain = InMemoryChain()
    hospital, services = a_hospital(tmp_path, chain)
    keep_up(services)
    keep_up(services)
    assert len(chain.anchored) == 1
    hospital.clock.now += ANCHOR_EVERY
    services.governance.ledger.record([review(1, at=hospital.clock())])
    keep_up(services)
    assert len(chain.anchored) == 2


def test_a_chain_that_is_away_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    hospital, services = a_hospital(tmp_path, InMemoryChain(is_away=True))
    keep_up(services)
    assert "does not answer" in caplog.text
    assert state_of(services, hospital) is ModelState.RELEASED


def test_without_a_chain_there_is_nothing_to_do(tmp_path: Path) -> None:
    _, services = a_hospital(tmp_path, None)
    keep_up(services)

"""A WorkQueue that only remembers what was asked of it."""

from dataclasses import dataclass, field


@dataclass
class InMemoryQueue:
    """Attributes hold the ids and names, in the order they came."""

    analysed: list[str] = field(default_factory=list)
    delivered: list[str] = field(default_factory=list)
    searched: list[str] = field(default_factory=list)
    trained: list[str] = field(default_factory=list)

    def analyse(self, analysis_id: str) -> None:
        self.analysed.append(analysis_id)

    def deliver(self, analysis_id: str) -> None:
        self.delivered.append(analysis_id)

    def search_studies(self, subscription: str) -> None:
        self.searched.append(subscription)

    def train(self, run_id: str) -> None:
        self.trained.append(run_id)

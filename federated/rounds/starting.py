"""The model that a run begins with. Imports torch, when it is called."""

from pathlib import Path

from federated.rounds.coordinator import Start
from federated.rounds.plan import RunPlan
from federated.strategies import shared_names, start_state


def start_run(plan: RunPlan) -> Start:
    """Fresh weights by the plan's seed, or those of the released model that it names.

    Raises:
        TrainingSettingsError: There is no such preset.
        ModelFileError: The folder holds no model, or one that was changed.
        NetworkConfigError: The network has nothing that the sites could share.
    """
    from federated.initial_weights import fresh_weights, released_weights
    from federated.models import describe_network
    from federated.presets import choose_preset
    from federated.training_request import TrainingRequest

    preset = choose_preset(TrainingRequest(plan.learning.preset))
    if plan.model:
        network, weights = released_weights(Path(plan.model))
    else:
        network = preset.network
        weights = fresh_weights(network, plan.learning.seed)
    names = shared_names(network, plan.learning)
    return Start(describe_network(network), start_state(weights, names, plan.learning))

"""Was this patient trained on? The likelihood-ratio attack (LiRA) of Carlini et al. (2022), arXiv:2112.03570, online.

Many networks are trained alike, each on a random half of the patients. Each in turn is the target, the others are the
attacker's shadow models: for each patient, the confidence of networks that saw it and of networks that did not are two
Gaussians, and the attacker compares the target's confidence with both. The attacker knows the patient's images and
labels exactly, and everything about the training but who took part and the noise.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from federated.auditing.membership_inference import likelihood_ratios, logit_confidence
from federated.cases import Example
from federated.losses import region_loss
from federated.models import NetworkConfig, build_network
from federated.privacy.private_training import train_privately
from federated.privacy.randomness import SecretRandom
from federated.rounds.terms import Privacy
from federated.sampling import Pool, Split
from federated.training import train
from federated.training_settings import TrainingSettings

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
CPU: Final = torch.device("cpu")
FALSE_POSITIVES: Final = (0.001, 0.01)


@dataclass(frozen=True, eq=False)
class Study:
    """What all networks of an attack have in common.

    Attributes:
        patients: Of whom a random half is trained on.
        privacy: None for training without noise.
    """

    patients: Sequence[Example]
    network: NetworkConfig
    settings: TrainingSettings
    privacy: Privacy | None


def members(count: int, model: int) -> Bools:
    """Who is trained on: a random half, whatever the training.

    The next network after an even one sees the other half: of an even number of networks, each patient is in half.
    """
    chosen = np.zeros(count, bool)
    chosen[np.random.default_rng([11, model // 2]).permutation(count)[: count // 2]] = True
    return ~chosen if model % 2 else chosen


def train_one(study: Study, model: int, initial: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """Train a network on its members and measure its confidence in everyone."""
    chosen = members(len(study.patients), model)
    split = Split(real=[patient for patient, is_in in zip(study.patients, chosen, strict=True) if is_in])
    if study.privacy is None:
        weights = train(split, study.network, study.settings, CPU, initial=initial).weights
    else:
        secret = SecretRandom.unsafe_seeded(model)
        weights = train_privately(
            split, study.network, study.settings, study.privacy, CPU, initial=initial, secret=secret
        ).weights
    return {"members": chosen.tolist(), "confidence": _confidences(study, weights)}


def _confidences(study: Study, weights: Mapping[str, torch.Tensor]) -> list[float]:
    network = build_network(study.network).eval()
    network.load_state_dict(dict(weights))
    pool = Pool(Split(real=study.patients), study.settings.patch, CPU, synthetic_share=0.0, crops=False).batch
    channels, regions = pool.channels().float(), pool.regions()
    with torch.inference_mode():
        losses = [
            float(region_loss(network(channels[place : place + 1]), regions[place : place + 1]))
            for place in range(len(channels))
        ]
    found: list[float] = logit_confidence(np.array(losses)).tolist()
    return found


def scores(confidence: Floats, is_member: Bools) -> Floats:
    """log-likelihood ratio of each network and patient, the other networks being the shadows.

    Args:
        confidence, is_member: (models, patients).
    """
    number = np.arange(len(confidence))
    return np.stack(
        [
            likelihood_ratios(confidence[target], confidence[number != target], is_member[number != target])
            for target in number
        ]
    )


def rates(score: Floats, is_member: Bools) -> dict[str, float]:
    """True-positive rates at small false-positive rates, and the area under the ROC."""
    inside, outside = np.sort(score[is_member]), np.sort(score[~is_member])
    found = {}
    for rate in FALSE_POSITIVES:
        allowed = int(rate * len(outside))
        threshold = outside[len(outside) - 1 - allowed]
        found[f"tpr_at_{rate:g}"] = float((inside > threshold).mean())
    ranks = np.searchsorted(outside, inside, "left") + np.searchsorted(outside, inside, "right")
    return {**found, "auc": float(ranks.mean() / 2 / len(outside))}


def summarise(confidence: Floats, is_member: Bools, *, resamples: int = 2000) -> dict[str, Any]:
    """Rates with percentile intervals over models and patients, which are resampled independently of each other."""
    score = scores(confidence, is_member)
    rng = np.random.default_rng(0)
    models, patients = score.shape
    resampled = []
    for _ in range(resamples):
        index = np.ix_(rng.integers(0, models, models), rng.integers(0, patients, patients))
        if is_member[index].any() and not is_member[index].all():
            resampled.append(rates(score[index], is_member[index]))
    exact = rates(score, is_member)
    outside = int((~is_member).sum())
    return {
        "models": models,
        "patients": patients,
        "member_pairs": int(is_member.sum()),
        "non_member_pairs": outside,
        "smallest_false_positive_rate": 1 / outside,
        **{
            name: {
                "rate": value,
                "interval": [float(each) for each in np.quantile([one[name] for one in resampled], [0.025, 0.975])],
            }
            for name, value in exact.items()
        },
    }

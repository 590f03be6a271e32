"""A whole hospital's contribution, clipped and noised: its unit is the site, never added to what patients are charged.

The sum of the updates is protected, not a single one: each site adds only its share of the noise, and masking must hide
the shares from each other. The guarantee is for the sum of at least `threshold` updates against everyone who sees it,
less the sites that pool what they know with the coordinator.
"""

import math

import numpy as np

from federated.errors import PrivacySettingsError, UpdateError
from federated.privacy.accounting import epsilon
from federated.privacy.randomness import SecretRandom
from federated.rounds.layout import Vector
from federated.rounds.terms import RoundTerms


def clip_and_noise(
    vector: Vector, *, clip: float, noise: float, threshold: int, random: SecretRandom, colluding: int = 0
) -> Vector:
    """Clip a site's whole update and add its share of the noise.

    Every site adds noise of standard deviation noise * clip / sqrt(threshold - colluding): the sum of any `threshold`
    of them has at least noise * clip, also when `colluding` of them take theirs off again.

    Args:
        vector: float32 (numbers,): the site's update, a control variate included, before it is weighted, packed or
            masked. What comes after must be the same for every site, or it would act on single updates.
        clip: Longest 2-norm.
        noise: Noise multiplier of the sum; 0 clips only.
        threshold: Sites whose updates are summed at least.
        random: A fresh stream, once for an update: SecretRandom.fresh(), or a child of a kept secret.
        colluding: Sites that may take their noise off again.

    Returns:
        float32 (numbers,).

    Raises:
        PrivacySettingsError: A number is out of range.
        UpdateError: The update is not finite.
    """
    share = noise_share(clip=clip, noise=noise, threshold=threshold, colluding=colluding)
    exact = vector.astype(np.float64)
    length = float(np.linalg.norm(exact))
    if not math.isfinite(length):
        raise UpdateError("Expected an update of finite numbers, got others.")
    clipped = exact * min(1.0, clip / length) if length else exact
    return (clipped + share * random.normal(len(clipped))).astype(np.float32) if share else clipped.astype(np.float32)


def noise_share(*, clip: float, noise: float, threshold: int, colluding: int = 0) -> float:
    """Standard deviation of what one site adds to each number.

    Raises:
        PrivacySettingsError: A number is out of range.
    """
    if not 0 < clip < math.inf or not 0 <= noise < math.inf:
        raise PrivacySettingsError(f"Expected a clipping norm above 0 and noise from 0 on, got {clip!r} and {noise!r}.")
    if not 0 <= colluding < threshold:
        raise PrivacySettingsError(f"Expected fewer colluding sites than the threshold {threshold}, got {colluding}.")
    return noise * clip / math.sqrt(threshold - colluding)


def check_site_level(terms: RoundTerms) -> None:
    """Check that site-level noise means what it says in a round.

    Raises:
        PrivacySettingsError: Updates are not masked in one sum, are weighted, or are compressed one by one.
    """
    if not terms.privacy.site_noise:
        return
    rule = terms.aggregation
    if rule.rule != "masked":
        raise PrivacySettingsError(
            f"Site-level noise protects one masked sum: expected the rule masked, got {rule.rule}."
        )
    if rule.weighting != "equal":
        raise PrivacySettingsError(
            "Site-level noise bounds what each site adds to the sum: expected equal weights, got weights by examples."
        )
    if rule.compression == "sparse":
        raise PrivacySettingsError(
            "Each site would choose for itself which numbers to send: expected no sparse updates with site-level noise."
        )


def site_epsilon(noise: float, rounds: int, delta: float) -> float:
    """What the rounds that a site took part in tell about the site, whose part each time is everything it has.

    No sampling is claimed: the sites of a round are known.

    Raises:
        PrivacySettingsError: A number is out of range.
    """
    return epsilon(noise, 1.0, rounds, delta)

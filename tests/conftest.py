"""How examples are drawn for properties: the same ones on every machine, or new ones, `HYPOTHESIS_PROFILE=explore`."""

import os

from hypothesis import HealthCheck, settings

# A busy machine is no fault of the code under test.
_PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("repeatable", _PATIENT, derandomize=True)
settings.register_profile("explore", _PATIENT, max_examples=400)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))

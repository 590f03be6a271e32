"""The governance policy as people write it: YAML, read with suspicion."""

from importlib.resources import files

from governance.errors import PolicyError
from governance.policy import GovernancePolicy, parse_policy
from plugin.errors import SitePolicyError
from plugin.services.strict_yaml import parse_yaml


def default_policy_text() -> str:
    """The policy that is shipped; in force until officers set another one."""
    return files("governance").joinpath("default-policy.yaml").read_text(encoding="utf-8")


def parse_policy_text(text: str) -> GovernancePolicy:
    """Read a policy.

    Raises:
        PolicyError: It is not YAML, or parse_policy refuses it.
    """
    try:
        document = parse_yaml(text.encode())
    except SitePolicyError as fault:
        raise PolicyError(f"The governance policy cannot be used: {fault} Nothing is allowed.") from fault
    return parse_policy(document)

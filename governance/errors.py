"""Errors of governance.

GovernanceError
└── NotCanonicalError   a value has no canonical bytes (a float, a set, an object)
"""


class GovernanceError(Exception):
    """Base of all errors that governance raises."""


class NotCanonicalError(GovernanceError):
    """A value cannot be written as canonical bytes."""

"""Errors of governance.

GovernanceError
├── NotCanonicalError   a value has no canonical bytes (a float, a set, an object)
├── KeyFileError        a key that cannot be read, or of another kind
└── SignatureError      a signature that is not of the expected key, message and purpose
"""


class GovernanceError(Exception):
    """Base of all errors that governance raises."""


class NotCanonicalError(GovernanceError):
    """A value cannot be written as canonical bytes."""


class KeyFileError(GovernanceError):
    """A key that cannot be read, or of another kind."""


class SignatureError(GovernanceError):
    """A signature that is not of the expected key, message and purpose."""

"""Errors of federated.

FederatedError
├── ModelError
│   ├── ModelFileError         weights or card missing, unreadable or not what their digest says
│   └── ModelInputError        an image the model cannot take
└── TrainingDataError          a training case that cannot be read
"""


class FederatedError(Exception):
    """Base of all errors that federated raises."""


class ModelError(FederatedError):
    """A model cannot be used."""


class ModelFileError(ModelError):
    """A model file is missing, unreadable or not what its digest says."""


class ModelInputError(ModelError):
    """An image that the model cannot take."""


class TrainingDataError(FederatedError):
    """A training case that cannot be read."""

"""Use cases of governance: who may do what with a model, what is recorded, watched, audited and reported."""

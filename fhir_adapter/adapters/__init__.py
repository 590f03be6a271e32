"""Adapters of the FHIR ports."""

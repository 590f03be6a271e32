"""FHIR resources to and from our values: notifications, imaging studies, reports, provenance, audit."""

"""The web process: FHIR hooks, pages, API, health and metrics."""

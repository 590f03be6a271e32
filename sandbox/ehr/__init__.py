"""The sandbox EHR: a FHIR R4 server with subscriptions, and pages that show what arrived."""

"""What GET /metadata answers."""

from sandbox.ehr.definitions import PARAMETERS, parameters_of
from sandbox.ehr.store import Resource

_INTERACTIONS = ("read", "vread", "update", "delete", "history-instance", "create", "search-type")
_TOPIC_EXTENSION = (
    "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/capabilitystatement-subscriptiontopic-canonical"
)


def build_capability_statement(base_url: str, topics: frozenset[str], started: str) -> Resource:
    """Build the CapabilityStatement of this server.

    Args:
        base_url: The server's own.
        topics: That can be subscribed to.
        started: When the server started, a FHIR instant.
    """
    return {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": started,
        "kind": "instance",
        "software": {"name": "Sandbox EHR", "releaseDate": started},
        "implementation": {"description": "Sandbox EHR: invented patients, not for clinical use", "url": base_url},
        "fhirVersion": "4.0.1",
        "format": ["application/fhir+json", "json"],
        "rest": [
            {
                "mode": "server",
                "security": {
                    "cors": False,
                    "description": "HTTP Basic, or the same password as a bearer token",
                    "service": [
                        {
                            "coding": [
                                {
                                    "system": "http://terminology.hl7.org/CodeSystem/restful-security-service",
                                    "code": "Basic",
                                }
                            ]
                        }
                    ],
                },
                "resource": [_resource_entry(name, topics) for name in sorted(PARAMETERS)],
                "interaction": [{"code": "transaction"}],
            }
        ],
    }


def _resource_entry(resource_type: str, topics: frozenset[str]) -> Resource:
    entry: Resource = {
        "type": resource_type,
        "interaction": [{"code": code} for code in _INTERACTIONS],
        "versioning": "versioned-update",
        "readHistory": True,
        "updateCreate": True,
        "conditionalCreate": True,
        "conditionalUpdate": False,
        "conditionalDelete": "not-supported",
        "referencePolicy": ["literal", "logical", "enforced"],
        "searchParam": [
            {"name": name, "type": parameter.kind} for name, parameter in sorted(parameters_of(resource_type).items())
        ],
    }
    if resource_type == "Subscription":
        entry["extension"] = [{"url": _TOPIC_EXTENSION, "valueCanonical": topic} for topic in sorted(topics)]
        prefix = "http://hl7.org/fhir/uv/subscriptions-backport/OperationDefinition/backport-subscription-"
        entry["operation"] = [{"name": name, "definition": prefix + name} for name in ("status", "events")]
    return entry

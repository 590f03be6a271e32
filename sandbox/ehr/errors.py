"""Errors of the sandbox EHR.

FhirError: an HTTP status and an OperationOutcome issue.
"""

from typing import Any


class FhirError(Exception):
    """A request that is refused.

    Attributes:
        status: HTTP status.
        code: OperationOutcome.issue.code (http://hl7.org/fhir/R4/valueset-issue-type.html).
        diagnostics: What was expected, what came, what to do.
        expression: FHIRPath of the element at fault, if it is one.
    """

    def __init__(self, status: int, code: str, diagnostics: str, expression: str | None = None) -> None:
        super().__init__(diagnostics)
        self.status = status
        self.code = code
        self.diagnostics = diagnostics
        self.expression = expression

    def to_outcome(self) -> dict[str, Any]:
        """Build the OperationOutcome."""
        issue: dict[str, Any] = {"severity": "error", "code": self.code, "diagnostics": self.diagnostics}
        if self.expression:
            issue["expression"] = [self.expression]
        return {"resourceType": "OperationOutcome", "issue": [issue]}


def not_found(reference: str) -> FhirError:
    """Build the error for a resource that is not there."""
    return FhirError(404, "not-found", f"{reference} is not known here")

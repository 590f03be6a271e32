"""What the EHR calls: FHIR Subscription notifications."""

from flask import Blueprint, Response, abort, request

from plugin.services import intake
from plugin.web.context import current_services
from plugin.web.errors import operation_outcome
from plugin.web.metrics import count_notification

MAX_NOTIFICATION_BYTES = 5 * 1024 * 1024
SECRET_HEADER = "X-QFL-Notification-Secret"  # noqa: S105  the header's name

blueprint = Blueprint("fhir", __name__, url_prefix="/fhir")
blueprint.after_request(count_notification)


@blueprint.post("/notifications/<subscription>")
@blueprint.route("/notifications/<subscription>/<resource_type>/<resource_id>", methods=["PUT", "POST", "DELETE"])
def receive_notification(subscription: str, resource_type: str = "", resource_id: str = "") -> Response:  # noqa: ARG001
    """Take one notification; a 2xx means that it is stored durably, so the EHR need not send it again.

    Some R4 servers tell of a change as if they wrote or deleted the resource here, below the endpoint. What that
    URL says is not used: the body names the resource, and without a body the EHR is searched. The answer is always FHIR
    JSON, because such servers parse it as an answer to their own client.
    """
    if request.content_encoding not in {None, "identity"}:
        abort(415, description="Expected a body without Content-Encoding.")
    request.max_content_length = MAX_NOTIFICATION_BYTES
    intake.accept_notification(
        current_services(),
        subscription=subscription,
        secret=request.headers.get(SECRET_HEADER),
        body=request.get_data(cache=False),
        content_type=request.content_type or "",
    )
    return Response(
        operation_outcome("information", "informational", "The notification was taken."),
        mimetype="application/fhir+json",
    )

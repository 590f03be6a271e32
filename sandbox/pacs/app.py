"""The DICOMweb interface of the sandbox PACS (PS3.18)."""

from flask import Blueprint, Flask, Response, abort, request
from werkzeug.exceptions import HTTPException

from sandbox.pacs.pages import pages
from sandbox.pacs.qido import QueryError, find, parse_query
from sandbox.pacs.store import InstanceStore
from sandbox.pacs.stow import add_store_routes
from sandbox.pacs.wado import add_metadata_routes, add_retrieve_routes, json_response
from sandbox.serving import Access, protect

DICOMWEB_PATH = "/dicom-web"


def create_app(store: InstanceStore, access: Access, server_url: str) -> Flask:
    """Build the WSGI application."""
    app = Flask(__name__, template_folder="../templates", static_folder="../static")
    app.extensions["pacs"] = store
    protect(app, access)
    app.register_blueprint(_dicomweb_blueprint(store, server_url + DICOMWEB_PATH), url_prefix=DICOMWEB_PATH)
    app.register_blueprint(pages)
    return app


def _dicomweb_blueprint(store: InstanceStore, base_url: str) -> Blueprint:
    dicomweb = Blueprint("dicomweb", __name__)

    @dicomweb.errorhandler(HTTPException)
    def tell(error: HTTPException) -> Response:
        return json_response({"error": error.description or error.name}, error.code or 500)

    _add_search_routes(dicomweb, store)
    add_retrieve_routes(dicomweb, store)
    add_metadata_routes(dicomweb, store)
    add_store_routes(dicomweb, store, base_url)
    return dicomweb


def _add_search_routes(dicomweb: Blueprint, store: InstanceStore) -> None:
    def search(level: str, study: str | None = None, series: str | None = None) -> Response:
        try:
            query = parse_query(level, request.args.items(multi=True))
        except QueryError as error:
            abort(400, str(error))
        found = find(store.find(study, series), query)
        # PS3.18 table 10.6.3-1: 204 when nothing matches.
        return json_response(found) if found else Response(status=204)

    @dicomweb.get("/studies")
    def search_studies() -> Response:
        return search("study")

    @dicomweb.get("/series")
    def search_all_series() -> Response:
        return search("series")

    @dicomweb.get("/instances")
    def search_all_instances() -> Response:
        return search("instance")

    @dicomweb.get("/studies/<study>/series")
    def search_series(study: str) -> Response:
        return search("series", study)

    @dicomweb.get("/studies/<study>/instances")
    def search_instances_of_study(study: str) -> Response:
        return search("instance", study)

    @dicomweb.get("/studies/<study>/series/<series>/instances")
    def search_instances(study: str, series: str) -> Response:
        return search("instance", study, series)

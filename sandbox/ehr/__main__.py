"""Start the sandbox EHR: python -m sandbox.ehr --port 0 --state DIR."""

from pathlib import Path

import click
from flask import Flask

from sandbox.ehr.app import create_app
from sandbox.ehr.delivery import DeliveryWorker, RetryPolicy
from sandbox.ehr.store import Store
from sandbox.ehr.wiring import FHIR_PATH, build_ehr
from sandbox.serving import Access, read_or_create_secret, serve

USERNAME = "ehr"


@click.command()
@click.option("--port", default=0, show_default=True, help="On 127.0.0.1; 0 takes a free one.")
@click.option("--state", type=click.Path(path_type=Path), required=True, help="Folder that keeps the data.")
@click.option("--token-file", type=click.Path(path_type=Path), help="Password; made if missing. Default: STATE/token")
@click.option("--topic", "topics", multiple=True, help="Another canonical URL for the imaging study topic.")
@click.option("--retry-first-s", default=1.0, show_default=True, help="Pause after the first failed notification.")
@click.option("--retry-attempts", default=8, show_default=True, help="Failures before a subscription goes into error.")
@click.option(
    "--rest-hook", type=click.Choice(["put", "post"]), default="put", show_default=True, help="R4 with payload."
)
def main(
    port: int,
    state: Path,
    token_file: Path | None,
    topics: tuple[str, ...],
    retry_first_s: float,
    retry_attempts: int,
    rest_hook: str,
) -> None:
    """Sandbox EHR: a FHIR R4 server on 127.0.0.1. User "ehr"; the token is both password and bearer token."""
    state.mkdir(parents=True, exist_ok=True)
    access = Access("Sandbox EHR", USERNAME, read_or_create_secret(token_file or state / "token"))

    def build_app(server_url: str) -> Flask:
        ehr = build_ehr(Store(state / "ehr.sqlite3"), server_url, frozenset(topics))
        retry = RetryPolicy(first_pause_s=retry_first_s, max_attempts=retry_attempts)
        put_resources = rest_hook == "put"
        DeliveryWorker(ehr.subscriptions, server_url + FHIR_PATH, retry, put_resources=put_resources).start()
        return create_app(ehr, access)

    serve(build_app, port)


if __name__ == "__main__":
    main()

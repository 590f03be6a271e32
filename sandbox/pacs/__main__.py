"""Start the sandbox PACS: python -m sandbox.pacs --port 0 --state DIR."""

from pathlib import Path

import click
from flask import Flask

from sandbox.pacs.app import create_app
from sandbox.pacs.store import InstanceStore
from sandbox.serving import Access, read_or_create_secret, serve

USERNAME = "pacs"


@click.command()
@click.option("--port", default=0, show_default=True, help="On 127.0.0.1; 0 takes a free one.")
@click.option("--state", type=click.Path(path_type=Path), required=True, help="Folder that keeps the data.")
@click.option("--password-file", type=click.Path(path_type=Path), help="Made if missing. Default: STATE/password")
def main(port: int, state: Path, password_file: Path | None) -> None:
    """Sandbox PACS: a DICOMweb archive on 127.0.0.1. User "pacs"."""
    state.mkdir(parents=True, exist_ok=True)
    access = Access("Sandbox PACS", USERNAME, read_or_create_secret(password_file or state / "password"))

    def build_app(server_url: str) -> Flask:
        return create_app(InstanceStore(state), access, server_url)

    serve(build_app, port)


if __name__ == "__main__":
    main()

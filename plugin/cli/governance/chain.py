"""`qfl governance chain ...`: roots and releases on the consortium's own chain. Off unless one is configured."""

import sys
from typing import Any

import click

from plugin.cli.common import explained
from plugin.cli.rows import tell

_SOMETHING_WRONG = 1
_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group()
def chain() -> None:
    """Roots of the ledger and releases of models on a consortium's EVM chain (docs/consortium-chain.md)."""


@chain.command()
@click.argument("institutions", nargs=-1, required=True, metavar="ADDRESS...")
@click.option("--threshold", type=click.IntRange(1), required=True, help="How many institutions must agree.")
@_as_json
@explained
def deploy(institutions: tuple[str, ...], threshold: int, as_json: bool) -> None:
    """Compile the contract that is shipped, put it on the chain, and print its address."""
    from plugin.bootstrap.ledger import deploy_contract
    from plugin.settings import load_settings

    address = deploy_contract(load_settings(), institutions, threshold)
    text = f"The contract is at {address}. Give it to every institution as QFL_CHAIN_CONTRACT."
    tell({"contract": address, "institutions": list(institutions), "threshold": threshold}, as_json=as_json, text=text)


@chain.command()
@_as_json
@explained
def anchor(as_json: bool) -> None:
    """Sign the ledger, anchor its root, and record where."""
    from plugin.services.governance.anchoring import anchor_ledger

    ledger, contract = _ledger_and_chain()
    done = anchor_ledger(ledger, contract)
    found = {"size": done.head.size, "root": done.head.root.hex(), "transaction": done.transaction}
    where = f"by transaction {done.transaction}" if done.transaction else "already: nothing new but anchors"
    tell(found, as_json=as_json, text=f"The root of {done.head.size:,} entries is anchored {where}.")


@chain.command()
@_as_json
@explained
def verify(as_json: bool) -> None:
    """Compare everything that was anchored with the ledger. Exit code 1: something is wrong."""
    from dataclasses import asdict

    from plugin.services.governance.anchoring import verify_anchors

    count, findings = verify_anchors(*_ledger_and_chain())
    lines = [f"Head {each.place}, of {each.size:,} entries, {each.what}." for each in findings]
    text = "\n".join(lines or [f"All {count} anchored roots are of this ledger."])
    tell({"heads": count, "findings": [asdict(each) for each in findings]}, as_json=as_json, text=text)
    if findings:
        sys.exit(_SOMETHING_WRONG)


@chain.command()
@click.argument("model")
@click.argument("audit")
@_as_json
@explained
def approve(model: str, audit: str, as_json: bool) -> None:
    """As this institution, approve the release of MODEL under AUDIT (the digest of its audit)."""
    from plugin.services.governance.anchoring import audit_id, model_id

    contract = _chain()
    names = model_id(model), audit_id(audit)
    transaction = contract.approve_release(*names)
    released = contract.model(names[0]).released
    approvals, needed = contract.approvals(*names)
    state = "It is released." if released else f"{approvals} of {needed} institutions approve it."
    tell({"transaction": transaction, "released": released}, as_json=as_json, text=f"Approved. {state}")


@chain.command()
@click.argument("model")
@click.option("--reason", required=True, help="Kept here; the chain gets its digest.")
@_as_json
@explained
def halt(model: str, reason: str, as_json: bool) -> None:
    """As this institution, halt MODEL for the whole consortium, at once."""
    from hashlib import sha256

    from plugin.services.governance.anchoring import model_id

    digest = sha256(reason.encode()).digest()
    transaction = _chain().halt(model_id(model), digest)
    text = f"Halted for everybody; the reason's digest is {digest.hex()}."
    tell({"transaction": transaction, "reason_digest": digest.hex()}, as_json=as_json, text=text)


@chain.command()
@click.argument("model")
@_as_json
@explained
def status(model: str, as_json: bool) -> None:
    """What the consortium says of MODEL."""
    from plugin.services.governance.anchoring import model_id

    found = _chain().model(model_id(model))
    audit = found.audit.hex() if found.audit else None
    said = "halted" if found.halted else "released" if found.released else "not released"
    tell({"state": said, "audit": audit}, as_json=as_json, text=f"{said}{f', under audit {audit}' if audit else ''}")


def _chain() -> Any:
    from plugin.bootstrap.ledger import build_chain
    from plugin.settings import load_settings

    return build_chain(load_settings())


def _ledger_and_chain() -> tuple[Any, Any]:
    from plugin.bootstrap.ledger import build_chain, build_ledger
    from plugin.settings import load_settings

    settings = load_settings()
    return build_ledger(settings), build_chain(settings)


COMMANDS = (chain,)

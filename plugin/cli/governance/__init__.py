"""The group `qfl governance`: what was recorded, and whether it is still what was recorded; who may do what."""

import click

from plugin.cli.governance import audit, cards, chain, ledger, officers, policy, release, reports, subjects


@click.group()
def governance() -> None:
    """The ledger of everything that was done, and who may do what."""


for _module in (ledger, audit, chain, cards, officers, release, policy, reports, subjects):
    for _command in _module.COMMANDS:
        governance.add_command(_command)

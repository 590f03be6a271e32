"""The command line: parse, call one service, print."""

import click

from plugin.cli.analyses import analyse
from plugin.cli.data import data
from plugin.cli.explanation import explain
from plugin.cli.federation import federation
from plugin.cli.governance import governance
from plugin.cli.prediction import predict
from plugin.cli.quantum import quantum
from plugin.cli.serving import demo, migrate, timer, web, worker
from plugin.cli.subscriptions import subscriptions
from plugin.cli.training import train
from plugin.cli.users import users


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="qfl-hospital-plugin")
def main() -> None:
    """Brain-tumour segmentation inside the hospital: FHIR in, DICOM SEG and SR and a FHIR report out.

    Research use only; not a medical device. The settings come from the environment (docs/configuration.md).
    """


_COMMANDS = (
    *(migrate, web, worker, timer, analyse, predict, quantum, subscriptions, users, demo, data, train, federation),
    governance,
    explain,
)
for _command in _COMMANDS:
    main.add_command(_command)

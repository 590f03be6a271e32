"""Joules come with their source, which is one of few words: a site cannot tell the coordinator a text by it."""

import pytest

from federated.energy import ENERGY_SOURCES
from federated.errors import UpdateError
from federated.rounds.figures import read_evaluated, read_trained
from federated.rounds.messages import Reply, Stage, State


def reply(stage, **figures):
    return Reply("north", "r", 1, stage, "t" * 64, State.DONE, header={"examples": 5, "figures": figures})


@pytest.mark.parametrize("source", [*ENERGY_SOURCES, None])
def test_known_sources_are_read(source):
    trained = read_trained("north", reply(Stage.TRAIN, joules=12.5, energy_source=source))
    evaluated = read_evaluated("north", reply(Stage.EVALUATE, joules=2.5, energy_source=source))
    assert (trained.joules, trained.energy_source) == (12.5, source)
    assert (evaluated.joules, evaluated.energy_source) == (2.5, source)
    assert "energy_source" not in evaluated.other


@pytest.mark.parametrize("source", ["Anna Meier", "", 3, ["rapl"], {"rapl": 1}, True])
@pytest.mark.parametrize(("stage", "read"), [(Stage.TRAIN, read_trained), (Stage.EVALUATE, read_evaluated)])
def test_anything_else_is_refused_by_name_and_not_repeated(stage, read, source):
    with pytest.raises(UpdateError, match=r"^north: expected energy_source") as error:
        read("north", reply(stage, energy_source=source))
    assert "Meier" not in str(error.value)

import numpy as np
import pytest

from federated.demographics import (
    Demographics,
    Person,
    Population,
    draw_demographics,
    parse_demographics,
    read_people,
    write_people,
)
from federated.errors import TrainingDataError

HEADER = "case,site,sex,age_years,ethnicity\n"


@pytest.mark.parametrize(("low_grade", "age", "female"), [(True, 43.4, 0.44), (False, 60.2, 0.39)])
def test_draws_the_published_distributions(low_grade, age, female):
    rng = np.random.default_rng(0)
    people = [draw_demographics(rng, Population(), low_grade=low_grade) for _ in range(4000)]
    assert np.mean([person.age_years for person in people]) == pytest.approx(age, abs=1.2)
    assert np.mean([person.sex == "F" for person in people]) == pytest.approx(female, abs=0.03)
    assert np.mean([person.ethnicity == "white" for person in people]) == pytest.approx(0.893, abs=0.02)
    assert min(person.age_years for person in people) >= 18


def test_what_is_written_is_read(tmp_path):
    people = {
        "a": Person(Demographics("F", 61, "asian"), "site-02"),
        "b": Person(None, None),
        "c": Person(Demographics("M", 20, "black or african american"), None),
    }
    write_people(tmp_path / "demographics.csv", people)
    assert read_people(tmp_path / "demographics.csv") == people


def test_no_file_says_nothing(tmp_path):
    assert read_people(tmp_path / "demographics.csv") == {}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(HEADER + "a,s,X,50,white\n", r"line 2: expected a sex of F, M, got 'X'", id="sex"),
        pytest.param(HEADER + "a,s,F,fifty,white\n", "expected an age of 0 to 120", id="age in words"),
        pytest.param(HEADER + "a,s,F,200,white\n", "expected an age of 0 to 120", id="absurd age"),
        pytest.param(HEADER + "a,s,F,50,martian\n", "expected an ethnicity of white", id="ethnicity"),
        pytest.param(HEADER + "a,s,F,50\n", "expected an ethnicity", id="short row"),
        pytest.param("case,sex\na,F\n", "site, age_years, ethnicity missing", id="columns"),
    ],
)
def test_refuses_what_it_does_not_know(tmp_path, content, message):
    path = tmp_path / "demographics.csv"
    path.write_text(content)
    with pytest.raises(TrainingDataError, match=message):
        read_people(path)


def test_refuses_what_is_not_text(tmp_path):
    path = tmp_path / "demographics.csv"
    path.write_bytes(b"\xff\xfe\x00case")
    with pytest.raises(TrainingDataError, match="cannot be read"):
        read_people(path)


def test_parses_text():
    assert parse_demographics("M", "47", "other") == Demographics("M", 47, "other")

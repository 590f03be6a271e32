"""The policy file: what is a policy, and that nothing else is one."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plugin.errors import SitePolicyError
from plugin.services.site_policy import default_policy_text, describe_policy, parse_policy, read_policy
from plugin.services.strict_yaml import MAX_BYTES, parse_yaml

EXAMPLE = default_policy_text()


def changed(before, after):
    assert before in EXAMPLE
    return EXAMPLE.replace(before, after, 1).encode()


def test_the_policy_to_begin_with_is_careful():
    policy = parse_policy(EXAMPLE.encode())
    assert policy.rounds.aggregation == {"masked", "grouped-masked"}
    assert policy.rounds.quantum_backends == {"none", "local"}
    assert policy.privacy.required
    assert not policy.leaves.subgroup_sums
    assert not policy.cohort.use.is_presumed
    assert (policy.machine.gpu, policy.rounds.models) == (False, None)
    assert policy.hours.windows is None


def test_every_key_of_the_file_is_described():
    described = describe_policy(parse_policy(EXAMPLE.encode()))
    keys = re.findall(r"^  (\w+):", re.sub(r"#.*", "", EXAMPLE), re.MULTILINE)
    assert set(keys) == {name for part in described.values() if isinstance(part, dict) for name in part}


def test_reads_windows_digests_and_codes():
    text = (
        EXAMPLE.replace(
            "windows: always",
            'windows:\n    - {days: [mon, fri], from: "19:00", to: "06:00"}\n'
            '    - {days: [sat], from: "00:00", to: "24:00"}',
        )
        .replace("models: any", f"models: ['{'a' * 64}']")
        .replace("consent_codes: []", "consent_codes: ['1.2.3']")
        .replace("consent: opt-in", "consent: opt-out")
    )
    policy = parse_policy(text.encode())
    assert [str(window) for window in policy.hours.windows] == ["mon fri 19:00-06:00", "sat 00:00-24:00"]
    assert policy.rounds.models == {"a" * 64}
    assert (policy.cohort.use.codes, policy.cohort.use.is_presumed) == ({"1.2.3"}, True)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        pytest.param("version: 1\n", "version: 2\n", "version: expected 1, got 2", id="another-version"),
        pytest.param("version: 1\n", "version: one\n", "whole number", id="version-is-text"),
        pytest.param("version: 1\n", "", "version: expected a value", id="no-version"),
        pytest.param("version: 1\n", "version: 1\nexports: true\n", "does not know exports", id="unknown-key"),
        pytest.param(
            "  updates: true", "  updates: true\n  images: true", "leaves: does not know images", id="unknown-part"
        ),
        pytest.param("  updates: true\n", "", "leaves.updates: expected a value", id="missing-key"),
        pytest.param("  updates: true", "  updates: maybe", "true or false", id="not-a-flag"),
        pytest.param("  updates: true", "  updates: 1", "true or false", id="number-for-a-flag"),
        pytest.param("[masked, grouped-masked]", "[masked, magic]", "got 'magic'", id="unknown-rule"),
        pytest.param("[masked, grouped-masked]", "[]", "at least one name", id="no-rule"),
        pytest.param("[masked, grouped-masked]", "masked", "list of names", id="rule-without-brackets"),
        pytest.param("models: any", "models: [abc]", "64 hexadecimal digits", id="no-digest"),
        pytest.param("models: any", "models: all", "list of names", id="all-for-any"),
        pytest.param("minimum_cases: 5", "minimum_cases: 0", "from 1", id="no-cases"),
        pytest.param("minimum_cases: 5", "minimum_cases: true", "whole number", id="true-for-a-number"),
        pytest.param("minimum_cases: 5", "minimum_cases: 5.5", "whole number", id="half-a-case"),
        pytest.param("delta: 1.0e-4", "delta: 1e-4", "write 1.0e-5", id="yaml-takes-it-for-text"),
        pytest.param("delta: 1.0e-4", "delta: 0.5", "at most 0.01", id="delta-is-no-delta"),
        pytest.param("delta: 1.0e-4", "delta: .nan", "above 0", id="not-a-number"),
        pytest.param("epsilon_per_year: 10.0", "epsilon_per_year: .inf", "at most 1000", id="no-limit"),
        pytest.param("epsilon_per_year: 10.0", "epsilon_per_year: -1", "above 0", id="negative"),
        pytest.param(
            "epsilon_per_year: 10.0", "epsilon_per_year: 7", "contradicts.*epsilon_per_run 8", id="run-above-year"
        ),
        pytest.param(
            "epsilon_per_round: 2.0", "epsilon_per_round: 9", "contradicts.*epsilon_per_round 9", id="round-above-run"
        ),
        pytest.param(
            "maximum_participants: 200",
            "maximum_participants: 2",
            "contradicts.*minimum_participants 3",
            id="minimum-above-maximum",
        ),
        pytest.param("minimum_in_sum: 2", "minimum_in_sum: 201", "contradicts.*minimum_in_sum", id="sum-above-maximum"),
        pytest.param("record_level: required", "record_level: yes", "required or optional", id="yaml-yes"),
        pytest.param("consent: opt-in", "consent: none", "opt-in or opt-out", id="unknown-consent"),
        pytest.param("time_zone: Europe/Berlin", "time_zone: Berlin", "time zone like", id="no-zone"),
        pytest.param("time_zone: Europe/Berlin", "time_zone: ../../etc/passwd", "time zone like", id="zone-is-a-path"),
        pytest.param("time_zone: Europe/Berlin", "time_zone: 7", "time zone like", id="zone-is-a-number"),
        pytest.param("windows: always", "windows: []", "could never begin", id="no-hours"),
        pytest.param("windows: always", "windows: never", "always, or a list", id="never"),
        pytest.param(
            "windows: always",
            'windows: [{days: [mon], from: "08:00", to: "08:00"}]',
            "some time between",
            id="empty-window",
        ),
        pytest.param(
            "windows: always", 'windows: [{days: [], from: "08:00", to: "09:00"}]', "at least one name", id="no-day"
        ),
        pytest.param(
            "windows: always",
            'windows: [{days: [monday], from: "08:00", to: "09:00"}]',
            "got 'monday'",
            id="unknown-day",
        ),
        pytest.param(
            "windows: always", "windows: [{days: [mon], from: 08:00, to: 20:30}]", "in quotes", id="time-without-quotes"
        ),
        pytest.param(
            "windows: always", 'windows: [{days: [mon], from: "25:00", to: "09:00"}]', "in quotes", id="no-such-hour"
        ),
        pytest.param(
            "windows: always",
            'windows: [{days: [mon], from: "24:00", to: "09:00"}]',
            "some time between",
            id="starts-at-the-end",
        ),
        pytest.param("windows: always", 'windows: [{days: [mon], from: "08:00"}]', "number 1.to", id="no-end"),
        pytest.param("cpu_threads: 4", "cpu_threads: 0", "from 1", id="no-thread"),
        pytest.param("leaves:", "leaves: 3\nothers:", "keys with values", id="section-is-a-number"),
    ],
)
def test_what_is_no_policy_is_refused_by_the_key(before, after, message):
    with pytest.raises(SitePolicyError, match=message):
        parse_policy(changed(before, after))


def test_subgroup_sums_without_metrics_are_a_contradiction():
    text = EXAMPLE.replace("metrics: true", "metrics: false").replace("subgroup_sums: false", "subgroup_sums: true")
    with pytest.raises(SitePolicyError, match=r"contradicts.*subgroup_sums"):
        parse_policy(text.encode())


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(b"", "empty", id="empty"),
        pytest.param(b"# only a comment\n", "empty", id="comment"),
        pytest.param(b"[]", "empty file or another", id="list"),
        pytest.param(b"a: [", "line", id="broken"),
        pytest.param(b"\xff\xfe", "UTF-8", id="not-text"),
        pytest.param(b"a: \x00", "YAML", id="control-character"),
        pytest.param(b"a: 1\n---\nb: 2\n", "YAML", id="two-documents"),
        pytest.param(b"a: 1\na: 2\n", "'a' comes twice", id="a-key-twice"),
        pytest.param(b"x: {a: 1, a: 2}", "'a' comes twice", id="a-nested-key-twice"),
        pytest.param(b"a: &x [1]\nb: *x\n", "aliases", id="alias"),
        pytest.param(b"a: !!python/object/apply:os.system ['true']", "YAML", id="python-object"),
        pytest.param(b"a: !!timestamp 2026-99-99", "YAML", id="no-such-day"),
        pytest.param(b"a: " + b"[" * 100 + b"]" * 100, "levels", id="deep"),
        pytest.param(b"a: 1\n" + b"#" * MAX_BYTES, "at most", id="large"),
        pytest.param(b"? [a, b]\n: 1\n", "YAML", id="key-is-a-list"),
    ],
)
def test_a_file_that_is_no_yaml_of_ours_is_refused(data, message):
    with pytest.raises(SitePolicyError, match=message):
        parse_yaml(data)


def test_a_bomb_of_aliases_takes_no_memory():
    lines = ["a0: &a0 [lol, lol]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    with pytest.raises(SitePolicyError, match="aliases"):
        parse_policy("\n".join(lines).encode())


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200) | st.text(alphabet="abc:{}[]-&*!#\n '\"0.", max_size=80).map(str.encode))
def test_whatever_a_file_holds_it_is_a_policy_or_an_error(data):
    with pytest.raises(SitePolicyError):
        parse_policy(data)


def test_a_file_that_everybody_may_write_is_no_policy(tmp_path):
    path = tmp_path / "policy.yaml"
    path.write_text(EXAMPLE)
    path.chmod(0o640)
    assert read_policy(path).digest
    path.chmod(0o642)
    with pytest.raises(SitePolicyError, match="chmod o-w"):
        read_policy(path)


def test_a_missing_file_is_said_with_its_name_and_what_to_do(tmp_path):
    with pytest.raises(SitePolicyError, match=r"none.yaml.*policy example"):
        read_policy(tmp_path / "none.yaml")
    with pytest.raises(SitePolicyError, match="cannot be read"):
        read_policy(tmp_path)


def test_the_fault_of_a_file_names_the_file(tmp_path):
    path = tmp_path / "policy.yaml"
    path.write_text("version: 9\n")
    with pytest.raises(SitePolicyError, match=r"policy.yaml: version: expected 1"):
        read_policy(path)

import stat

import numpy as np
import pytest
from scipy import stats

from federated.errors import CheckpointError
from federated.privacy.randomness import SecretRandom


def test_normal_numbers_are_normal():
    drawn = SecretRandom.unsafe_seeded(1).normal(200_000)
    assert stats.kstest(drawn, "norm").pvalue > 0.001
    assert drawn.std() == pytest.approx(1, abs=5 / np.sqrt(2 * 200_000))
    assert abs(np.corrcoef(drawn[:-1], drawn[1:])[0, 1]) < 5 / np.sqrt(200_000)


def test_uniform_numbers_are_uniform_and_never_0_or_1():
    drawn = SecretRandom.unsafe_seeded(2).uniform(200_000)
    assert stats.kstest(drawn, "uniform").pvalue > 0.001
    assert drawn.min() > 0
    assert drawn.max() < 1


def test_the_key_stream_is_that_of_rfc_8439():
    # Appendix A.1, test vector 1: key, nonce and counter of zeros.
    words = bytes.fromhex("76b8e0ada0f13d90405d6ae55386bd28")
    first = int.from_bytes(words[:8], "little") >> 11
    assert SecretRandom(bytes(32)).uniform(1)[0] == (first + 0.5) * 2.0**-53


def test_purposes_have_streams_of_their_own_that_can_be_drawn_again():
    root = SecretRandom.unsafe_seeded(3)
    first, again, other = root.child("step", 1), root.child("step", 1), root.child("step", 2)
    drawn = first.normal(1000)
    assert np.array_equal(drawn, again.normal(1000))
    assert not np.array_equal(drawn, first.normal(1000))
    assert abs(np.corrcoef(drawn, other.normal(1000))[0, 1]) < 0.2
    assert root.child("step", "1").uniform(1) != root.child("step", 1).uniform(1)


def test_fresh_streams_differ():
    assert SecretRandom.fresh().uniform(1) != SecretRandom.fresh().uniform(1)


def test_a_kept_secret_is_readable_by_its_owner_only_and_stays(tmp_path):
    path = tmp_path / "run" / "noise.key"
    first = SecretRandom.kept(path).uniform(3)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert np.array_equal(SecretRandom.kept(path).uniform(3), first)


def test_a_half_written_secret_is_made_again(tmp_path):
    path = tmp_path / "noise.key"
    path.with_suffix(".part").write_bytes(b"half")
    SecretRandom.kept(path)
    assert len(path.read_bytes()) == 32


def test_refuses_a_damaged_secret(tmp_path):
    path = tmp_path / "noise.key"
    path.write_bytes(b"short")
    with pytest.raises(CheckpointError, match="32 bytes"):
        SecretRandom.kept(path)
    with pytest.raises(CheckpointError, match="cannot be used"):
        SecretRandom.kept(path / "below" / "a-file")

"""Local explanations of functions whose truth is known."""

import numpy as np
import pytest

from federated.explanation.lime_supervoxels import explain_locally

TRUE_WEIGHTS = np.array([2.0, -1.0, 0.0, 0.5, 3.0, 0.0, -0.25, 1.0])


def linear(kept):
    return float(4.0 + TRUE_WEIGHTS @ kept)


def test_a_linear_function_is_recovered_and_followed():
    found = explain_locally(linear, len(TRUE_WEIGHTS), samples=400, seed=3)
    # The ridge shrinks a little: its penalty is 1 against some 50 weighted samples a piece.
    np.testing.assert_allclose(found.weights, TRUE_WEIGHTS, atol=0.12)
    assert found.answer == pytest.approx(4.0 + TRUE_WEIGHTS.sum())
    assert found.r2 > 0.99
    assert found.r2_held_out > 0.99


def test_the_regression_is_the_weighted_ridge_of_the_closed_form():
    """Against the normal equations, written out, over the samples that the seed draws."""
    rng = np.random.default_rng(5)
    kept = rng.random((60, 8)) < 0.5
    kept[0] = True
    data = kept.astype(float)
    answers = np.array([linear(row) for row in kept])
    cosine = data.sum(axis=1) / np.maximum(np.sqrt(data.sum(axis=1)) * np.sqrt(8), 1e-12)
    weights = np.sqrt(np.exp(-((1 - cosine) ** 2) / 0.25**2))
    centre, level = np.average(data, axis=0, weights=weights), np.average(answers, weights=weights)
    shifted = data - centre
    expected = np.linalg.solve(
        shifted.T @ (weights[:, None] * shifted) + np.eye(8), shifted.T @ (weights * (answers - level))
    )
    found = explain_locally(linear, 8, samples=60, seed=5)
    np.testing.assert_allclose(found.weights, expected, rtol=1e-6)


def test_a_parity_has_no_faithful_linear_explanation():
    """XOR: no single piece tells anything."""
    found = explain_locally(lambda kept: float(kept[0] ^ kept[1] ^ kept[2]), 6, samples=300, seed=0)
    assert found.r2 < 0.2
    assert found.r2_held_out < 0.1


def test_many_pieces_and_few_samples_flatter_the_fit_but_not_what_counts():
    noise = np.random.default_rng(9)
    found = explain_locally(lambda _: float(noise.normal()), 40, samples=60, seed=1)
    assert found.r2 > 0.4
    assert found.r2_held_out < 0.1


def test_an_answer_that_never_changes_is_not_called_explained():
    found = explain_locally(lambda _: 1.5, 5, samples=50)
    assert (found.r2, found.r2_held_out) == (0.0, 0.0)
    np.testing.assert_allclose(found.weights, 0, atol=1e-12)


def test_the_same_seed_gives_the_same_explanation_and_another_one_another():
    first, again, other = (explain_locally(linear, 8, samples=40, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first.weights != other.weights


@pytest.mark.parametrize(("count", "samples"), [pytest.param(0, 50, id="no piece"), pytest.param(3, 9, id="few")])
def test_what_cannot_be_fitted_is_refused(count, samples):
    with pytest.raises(ValueError, match="Expected pieces"):
        explain_locally(linear, count, samples=samples)


def test_progress_reaches_the_end():
    seen = []
    explain_locally(linear, 8, samples=20, progress=seen.append)
    assert seen[-1] == 1.0
    assert seen == sorted(seen)

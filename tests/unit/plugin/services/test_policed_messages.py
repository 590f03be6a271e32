"""Messages above the policy's size are neither taken nor sent."""

import logging

import pytest

from plugin.services.policed_messages import within_policy
from plugin.services.site_policy import default_policy_text


@pytest.fixture
def policy_file(tmp_path):
    path = tmp_path / "policy.yaml"
    path.write_text(default_policy_text().replace("largest_message_mb: 256", "largest_message_mb: 0.001"))
    return path


def test_small_messages_pass(policy_file):
    assert within_policy(lambda message: message[::-1], policy_file)(b"ab" * 500) == b"ba" * 500


def test_a_large_question_is_not_even_handled(policy_file, caplog):
    handled = []
    with caplog.at_level(logging.WARNING):
        assert within_policy(lambda message: handled.append(message) or b"x", policy_file)(bytes(1001)) == b""
    assert not handled
    assert "1001" in caplog.text


def test_a_large_answer_does_not_leave(policy_file):
    assert within_policy(lambda _message: bytes(1001), policy_file)(b"x") == b""


def test_an_edited_policy_counts_at_the_next_message(policy_file):
    handle = within_policy(lambda _message: bytes(1001), policy_file)
    policy_file.write_text(default_policy_text())
    assert len(handle(b"x")) == 1001


def test_without_a_policy_only_the_words_of_a_refusal_pass(policy_file):
    policy_file.unlink()
    assert within_policy(lambda _message: b"refused", policy_file)(b"terms") == b"refused"
    assert within_policy(lambda _message: bytes(1_000_001), policy_file)(b"terms") == b""

"""The web process on fakes, and clients that are signed in to it."""

import hashlib

import pytest
from argon2 import PasswordHasher
from flask import Flask
from flask.testing import FlaskClient

from plugin.services.values import Role, SubscriptionRecord, User
from tests.fakes.hospital import NOW, PASSWORD, SECRET, Hospital, make_app, sign_in

# A hash names its own cost, so a cheap one is verified fast.
_HASH = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
_USERS = (
    User("reader", "Dr Maya Okafor", Role.RADIOLOGIST, None, _HASH),
    User("it", "Jonas Weber", Role.ADMINISTRATOR, None, _HASH),
)


@pytest.fixture
def hospital() -> Hospital:
    hospital = Hospital()
    for user in _USERS:
        hospital.store.save_user(user, now=hospital.clock())
    hospital.store.save_subscription(
        SubscriptionRecord(
            name="ehr",
            kind="topic",
            criteria="http://example.org/topic",
            payload="id-only",
            fhir_reference="Subscription/1",
            secret_digest=hashlib.sha256(SECRET.encode()).hexdigest(),
            status="active",
            created_at=NOW,
            last_seen_at=None,
            last_event_number=None,
            last_error=None,
        )
    )
    return hospital


@pytest.fixture
def app(hospital: Hospital) -> Flask:
    return make_app(hospital)


@pytest.fixture
def anonymous(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def radiologist(app: Flask) -> FlaskClient:
    client = app.test_client()
    sign_in(client, "reader")
    return client


@pytest.fixture
def administrator(app: Flask) -> FlaskClient:
    client = app.test_client()
    sign_in(client, "it")
    return client

"""A service over the two fakes, and a real model where answers matter."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from mien.pipeline import Pipeline
from mien.serve.app import make_app
from mien.serve.options import LimitOptions, ServeOptions
from tests.fakes import ConstantClassifier, FixedDetector

BOX = (101.0, 53.0, 197.0, 149.0)


def fake_pipeline(classifier=None, detector=None) -> Pipeline:
    return Pipeline(classifier or ConstantClassifier(), detector or FixedDetector(BOX))


@pytest.fixture
def service():
    """Return a function that starts a service and gives its client."""
    open_clients = []

    def start(pipeline=None, options=None, page=lambda: None, **limits):
        used = pipeline or fake_pipeline()
        app = make_app(lambda: used, options or ServeOptions(), LimitOptions(**limits), 2, page)
        client = TestClient(app, "http://localhost", raise_server_exceptions=False)
        client.__enter__()
        open_clients.append(client)
        return client

    yield start
    for client in open_clients:
        client.__exit__(None, None, None)


@pytest.fixture
def client(service):
    return service()

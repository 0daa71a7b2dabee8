"""What the tests of the server share: one around the taught model."""

from __future__ import annotations

import pytest

from tests.demo.servers import client, serving


@pytest.fixture(scope="module")
def service(engine):
    from demo.api.service import Service

    return Service(engine, "taught")


@pytest.fixture(scope="module")
def address(service):
    with serving(service, body_bytes=2**20) as address:
        yield address


@pytest.fixture(scope="module")
def mine(address):
    with client(address) as mine:
        yield mine

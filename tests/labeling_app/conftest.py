"""Stores on SQLite and PostgreSQL."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from labeling_app.store.database import Store, open_store
from tests.labeling_app.backends import Clock, postgres, programs


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """A PostgreSQL server for the session."""
    if programs() is None:
        pytest.skip("PostgreSQL's server is not installed (apt-get install postgresql)")
    pytest.importorskip("psycopg", reason="the driver is not installed (pip install 'rlhf-align[postgres]')")
    with postgres() as url:
        yield url


@pytest.fixture
def new_database(server: str) -> Callable[[], str]:
    """Makes an empty PostgreSQL database, and gives its URL."""
    import psycopg

    def make() -> str:
        name = f"t{uuid.uuid4().hex}"
        with psycopg.connect(server.format(name="postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return server.format(name=name)

    return make


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[Store]:
    """An empty label database in a file."""
    store = open_store(tmp_path / "labels.db", clock=clock)
    yield store
    store.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def either(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[Store]:
    """An empty label database, of each kind in turn."""
    where = tmp_path / "labels.db" if request.param == "sqlite" else request.getfixturevalue("new_database")()
    store = open_store(where, clock=clock)
    yield store
    store.close()

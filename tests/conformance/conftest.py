"""A store on the test's database, opened and closed."""

from collections.abc import AsyncIterator

import pytest

from eventstore.database import Database
from eventstore.store import EventStore
from tests.conformance.toys import store_on


@pytest.fixture
async def store(database: Database) -> AsyncIterator[EventStore]:
    store = store_on(database)
    await store.open()
    yield store
    await store.close()

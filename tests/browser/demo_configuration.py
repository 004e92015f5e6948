"""What the small data team shares: limits and who holds them, variables, filters, a block."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from api.server import Server
from api.ui.query import Query
from api.ui.run_filters import asked
from api.ui.saved_filters import kept
from orchestration.block_documents import BlockDocumentCreate
from orchestration.block_schemas import BlockSchemaCreate
from orchestration.block_types import BlockTypeCreate
from orchestration.concurrency_leases import Holder
from orchestration.concurrency_limits import ConcurrencyLimitCreate
from orchestration.saved_searches import SavedSearchCreate
from orchestration.variables import VariableCreate
from services import (
    block_documents,
    block_schemas,
    block_types,
    concurrency_limits,
    saved_searches,
    slots,
    tag_limits,
    variables,
)
from services.shell import Origin
from services.slots import Terms
from tests.browser.making_blocks import ACCOUNT

LIMITS = (("warehouse", 5, 0.0), ("orders-api", 20, 0.5))
"""Name, slots, and how many come free a second."""
VARIABLES: tuple[tuple[str, Any, tuple[str, ...]], ...] = (
    ("region", "eu", ("orders",)),
    ("batch-size", 500, ()),
    ("thresholds", {"late_minutes": 15, "owners": ["anna", "tom"]}, ("metrics",)),
)
FILTERS = (("Failures of today", "state=FAILED&state=CRASHED&range=24h"), ("In Europe", "tag=eu"))


async def fill(server: Server, running: Sequence[str], origin: Origin) -> None:
    """Make all of it; slots are held by these flow runs."""
    shell = server.shell
    for name, number, decay in LIMITS:
        limit = ConcurrencyLimitCreate(name=name, limit=number, slot_decay_per_second=decay)
        await concurrency_limits.create(shell, limit, server.now(), origin)
    for run in running:
        terms = Terms(timedelta(hours=1), Holder("flow_run", run))
        await slots.take(shell, ["warehouse"], 1, "concurrency", terms, server.now, origin)
    await slots.take(shell, ["orders-api"], 6, "rate_limit", None, server.now, origin)
    await tag_limits.put(shell, "gpu", 2, server.now, origin)
    for name, value, tags in VARIABLES:
        await variables.create(shell, VariableCreate(name=name, value=value, tags=tags), origin)
    for name, text in FILTERS:
        search = SavedSearchCreate(name=name, filters=kept(asked(Query.parse(text))))
        await saved_searches.save(shell, search, origin)
    await _block(server, origin)


async def _block(server: Server, origin: Origin) -> None:
    about = BlockTypeCreate(
        name="Account", slug="account", description="Who logs in, and how often it is tried."
    )
    type_id, _ = await block_types.create(server.shell, about, origin)
    schema = BlockSchemaCreate(fields=ACCOUNT, block_type_id=type_id, capabilities=("log-in",))
    registered = await block_schemas.register(server.shell, schema, origin)
    block = BlockDocumentCreate(
        name="warehouse",
        block_type_id=type_id,
        block_schema_id=registered.id,
        data={"user": "loader", "password": "not-a-real-one", "retries": 5},
    )
    await block_documents.create(server.shell, server.vault, block, origin)

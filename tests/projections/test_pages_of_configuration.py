"""What the pages of limits, variables, blocks and the search ask, on both engines."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Any, cast

import pytest

from api.server import Server
from api.settings import Settings
from api.ui import blocks
from api.ui.page import Visit
from api.ui.query import Query
from eventstore.database import Reader, Row, Value
from eventstore.migrate import Target
from orchestration.block_documents import BlockDocumentCreate, BlockDocumentUpdate
from orchestration.block_schemas import BlockSchemaCreate
from orchestration.block_types import BlockTypeCreate
from orchestration.concurrency_leases import Holder
from orchestration.concurrency_limits import ConcurrencyLimitCreate
from orchestration.deployment_bodies import DeploymentCreate
from orchestration.flows import FlowCreate
from orchestration.refusals import Invalid
from orchestration.variables import VariableCreate
from projections import (
    block_pages,
    block_references,
    concurrency_pages,
    named_pages,
    variable_pages,
)
from services import (
    block_documents,
    block_schemas,
    block_types,
    concurrency_limits,
    deployments,
    flows,
    slots,
    tag_limits,
    variables,
)
from services.slots import Taken, Terms
from tests.projections.plans import plan
from tests.services.runs_here import ORIGIN, new_run
from tests.services.serving_here import serving


@pytest.fixture
async def server(target: Target) -> AsyncIterator[Server]:
    async with serving(target, Settings(services_enabled=False)) as server:
        yield server


async def new_limit(server: Server, name: str, limit: int = 3, **fields: Any) -> str:
    body = ConcurrencyLimitCreate(name=name, limit=limit, **fields)
    made, _ = await concurrency_limits.create(server.shell, body, server.now(), ORIGIN)
    return made.limit.id


async def take(server: Server, names: list[str], run: str | None, number: int = 1) -> str:
    holder = None if run is None else Holder("flow_run", run)
    terms = Terms(timedelta(minutes=5), holder)
    taken = await slots.take(server.shell, names, number, "concurrency", terms, server.now, ORIGIN)
    assert isinstance(taken, Taken) and taken.lease_id is not None
    return taken.lease_id


async def test_limits_are_listed_by_kind_with_who_holds_them_longest(server: Server) -> None:
    database, dialect = server.database, server.database.dialect
    wide = await new_limit(server, "database", 5)
    await new_limit(server, "api")
    await tag_limits.put(server.shell, "gpu", 1, server.now, ORIGIN)
    await new_limit(server, "deployment:gone")
    run = await new_run(server, "RUNNING", name="busy-lynx")
    first = await take(server, ["database", "api"], run, 2)
    await asyncio.sleep(0.002)  # Leases of one millisecond have no order.
    await take(server, ["database"], None)
    assert await concurrency_pages.counts(database) == {"global": 2, "tag": 1, "deployment": 1}
    page = await concurrency_pages.page(database, dialect, "global")
    assert [(line.label, line.seen.held, line.holders) for line in page.limits] == [
        ("api", 2, 1),
        ("database", 3, 2),
    ]
    found = await concurrency_pages.page(database, dialect, "tag", "GP")
    assert [line.label for line in found.limits] == ["gpu"]
    assert (await concurrency_pages.page(database, dialect, "tag", "tag")).limits == []
    named, unnamed = await concurrency_pages.holders(database, wide)
    assert (named.lease_id, named.slots, named.name) == (first, 2, "busy-lynx")
    assert (named.state_type, list(named.others)) == ("RUNNING", ["api"])
    assert named.until is not None and named.until > named.since
    assert (unnamed.kind, unnamed.name) == ("", "")
    line = await concurrency_pages.one(database, dialect, wide)
    assert line is not None and line.oldest == named.since
    assert await slots.renew(server.shell, first, timedelta(hours=1), server.now, ORIGIN)
    renewed, _ = await concurrency_pages.holders(database, wide)
    assert renewed.until is not None and renewed.until > named.until


async def test_pages_of_limits_and_variables_follow_each_other(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    database, dialect = server.database, server.database.dialect
    monkeypatch.setattr(concurrency_pages, "PAGE_LIMITS", 2)
    monkeypatch.setattr(variable_pages, "PAGE_VARIABLES", 2)
    for name in ("a", "b", "c"):
        await new_limit(server, name)
        body = VariableCreate(name=name, value=name, tags=("odd",) if name != "b" else ())
        await variables.create(server.shell, body, ORIGIN)
    first = await concurrency_pages.page(database, dialect, "global")
    second = await concurrency_pages.page(database, dialect, "global", after=first.after)
    assert [line.label for line in (*first.limits, *second.limits)] == ["a", "b", "c"]
    assert (first.total, second.after) == (3, None)
    for order, names in (("", "abc"), ("-name", "cba"), ("changed", "cba"), ("-changed", "abc")):
        one = await variable_pages.page(database, dialect, order=order)  # type: ignore[arg-type]
        two = await variable_pages.page(database, dialect, order=order, after=one.after)  # type: ignore[arg-type]
        assert "".join(each.name for each in (*one.variables, *two.variables)) == names
        back = await variable_pages.page(database, dialect, order=order, before=two.before)  # type: ignore[arg-type]
        assert back.variables == one.variables
    tagged = await variable_pages.page(database, dialect, tags=["odd"])
    assert [one.name for one in tagged.variables] == ["a", "c"]
    assert (await variable_pages.page(database, dialect, text="B", tags=["odd"])).total == 0
    with pytest.raises(Invalid):
        await variable_pages.page(database, dialect, order="changed", after="soon~1")


class Counting:
    """Reads, and counts the rows that it read."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.rows = 0

    async def fetch(self, sql: str, *params: Value) -> Sequence[Row]:
        """As the reader."""
        rows = await self._reader.fetch(sql, *params)
        self.rows += len(rows)
        return rows


async def test_of_the_deployments_of_a_limit_no_more_are_looked_at_than_are_shown(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    database, dialect = server.database, server.database.dialect
    limit = await new_limit(server, "licences")
    flow, _, _ = await flows.create(server.shell, FlowCreate(name="f"), server.now(), ORIGIN)
    for name in "edcba":
        body = DeploymentCreate(
            name=name, flow_id=json.loads(flow)["id"], global_concurrency_limit_id=limit
        )
        await deployments.put(server.shell, body, server.now, ORIGIN)
    monkeypatch.setattr(concurrency_pages, "DEPLOYMENTS_SHOWN", 2)
    reader = Counting(database)
    line = await concurrency_pages.one(cast(Reader, reader), dialect, limit)
    assert line is not None
    assert [of.name for of in line.deployments] == ["a", "b"]
    # The limit itself, how many there are, and they.
    assert reader.rows == 2 + len(line.deployments)
    assert (line.deployments_in_all, line.waiting) == (5, 0)
    first = await concurrency_pages.deployments_of(database, limit)
    second = await concurrency_pages.deployments_of(database, limit, after=first.after)
    last = await concurrency_pages.deployments_of(database, limit, after=second.after)
    names = [of.name for page in (first, second, last) for of in page.deployments]
    assert names == list("abcde")
    assert (first.before, last.after) == (None, None)
    assert await concurrency_pages.deployments_of(database, limit, before=last.before) == second


async def test_a_type_that_the_catalogue_has_no_room_for_is_there(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for slug in ("account", "bucket"):
        body = BlockTypeCreate(name=slug, slug=slug)
        type_id, _ = await block_types.create(server.shell, body, ORIGIN)
    schema = BlockSchemaCreate(fields={"title": "b"}, block_type_id=type_id, capabilities=("put",))
    await block_schemas.register(server.shell, schema, ORIGIN)
    monkeypatch.setattr(block_pages, "TYPES_MAX", 1)
    visit = Visit(server, "/blocks/catalog/bucket", {"slug": "bucket"}, Query([]), server.now(), "")
    shown = await blocks.of_type(visit)
    assert (shown.line.type.slug, list(shown.line.capabilities)) == ("bucket", ["put"])
    assert shown.line.documents == 0


async def test_blocks_are_found_by_type_and_capability_and_name_who_refers_to_them(
    server: Server,
) -> None:
    database, dialect, vault = server.database, server.database.dialect, server.vault
    ids = {}
    capabilities: dict[str, tuple[str, ...]] = {"account": ("log-in",), "bucket": ()}
    for slug, able in capabilities.items():
        body = BlockTypeCreate(name=slug.capitalize(), slug=slug)
        type_id, _ = await block_types.create(server.shell, body, ORIGIN)
        fields = {"title": slug, "type": "object", "properties": {}}
        schema = BlockSchemaCreate(fields=fields, block_type_id=type_id, capabilities=able)
        made = await block_schemas.register(server.shell, schema, ORIGIN)
        ids[slug] = (type_id, made.id)

    async def save(slug: str, name: str, data: dict[str, Any]) -> str:
        type_id, schema_id = ids[slug]
        body = BlockDocumentCreate(
            name=name, data=data, block_type_id=type_id, block_schema_id=str(schema_id)
        )
        made, _ = await block_documents.create(server.shell, vault, body, ORIGIN)
        return made

    account = await save("account", "main", {"user": "anna"})
    bucket = await save("bucket", "lake", {"who": {"$ref": {"block_document_id": account}}})
    page = await block_pages.page(database, dialect)
    assert [(one.name, one.type.slug) for one in page.documents] == [
        ("lake", "bucket"),
        ("main", "account"),
    ]
    who = await block_pages.page(database, dialect, capability="log-in")
    assert [one.id for one in who.documents] == [account]
    of_type = await block_pages.page(database, dialect, type_id=ids["bucket"][0], text="LA")
    assert ([one.id for one in of_type.documents], of_type.total) == ([bucket], 1)
    lines = await block_pages.catalogue(database, capability="log-in")
    assert [(line.type.slug, line.documents) for line in lines] == [("account", 1)]
    users, number = await block_references.referring(database, account, 5)
    assert ([one.name for one in users], number) == (["lake"], 1)
    # Of many some are named, and all are counted and in the list.
    reference = {"$ref": {"block_document_id": account}}
    several = [await save("bucket", f"pond-{at:02}", {"who": reference}) for at in range(60)]
    users, number = await block_references.referring(database, account, 3)
    assert ([one.name for one in users], number) == (["lake", "pond-00", "pond-01"], 61)
    first = await block_pages.page(database, dialect, refers_to=account)
    assert (len(first.documents), first.total) == (block_pages.PAGE_DOCUMENTS, 61)
    rest = await block_pages.page(database, dialect, refers_to=account, after=first.after)
    assert [one.id for one in rest.documents] == several[-11:]
    await block_documents.delete(server.shell, vault, several[0], ORIGIN)
    without = BlockDocumentUpdate(data={"where": "east"}, merge_existing_data=False)
    await block_documents.update(server.shell, vault, several[1], without, ORIGIN)
    twice = BlockDocumentUpdate(data={"too": reference})
    await block_documents.update(server.shell, vault, several[2], twice, ORIGIN)
    users, number = await block_references.referring(database, account, 3)
    assert ([one.name for one in users], number) == (["lake", "pond-02", "pond-03"], 59)
    path = getattr(database, "path", None)
    if path is not None:  # How Postgres plans depends on what it knows of the tables.
        steps = plan(path, block_references.REFERRING, (account, 3))
        assert "SCAN" not in steps.replace("SCAN CONSTANT", "")
    choices = await block_pages.choices(database, dialect, ["account", "nothing"])
    assert [one.id for one in choices["account"]] == [account]
    found = await named_pages.named(database, dialect, "AIN")
    assert [one.id for one in found["block_documents"]] == [account]
    assert [
        one.id for one in (await named_pages.named(database, dialect, "buck"))["block_types"]
    ] == ["bucket"]

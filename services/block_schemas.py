"""What can be done with block schemas. They look at each other, so commands go one by one."""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from eventstore.committer import Written
from eventstore.database import Transaction
from eventstore.events import NewEvents
from eventstore.ids import new_id
from eventstore.log import Decision
from orchestration.block_schemas import (
    FIELDS_BYTES_MAX,
    NESTED_DEPTH_MAX,
    NESTED_SCHEMAS_MAX,
    BlockSchemaCreate,
    CreateBlockSchema,
    SchemaReference,
    checksum,
    decide,
    definitions_of,
    fields_of_nested,
    mentioned,
)
from orchestration.refusals import Conflict, Invalid, NotFound
from projections import block_schemas, block_types
from services.block_types import CONTENTION
from services.shell import Origin, Shell, appended

CATEGORY = "block-schema"


class Registered(Struct, frozen=True):
    """What became of a schema that a client brought."""

    id: str
    is_new: bool
    written: Written


class UnknownBlockType(NotFound):
    """The schema is to be of a type that does not exist."""

    def __init__(self, id: str) -> None:
        super().__init__("Block type", id)
        self.args = (f"Block type {id} not found.",)


async def register(shell: Shell, body: BlockSchemaCreate, origin: Origin) -> Registered:
    """Record a schema, and those of nested blocks that came along, unless they are known already.

    Raises NotFound, Conflict and Invalid.
    """
    size = len(msgspec.json.encode(body.fields))
    if size > FIELDS_BYTES_MAX:
        raise Invalid(f"The fields of a schema may take {FIELDS_BYTES_MAX} bytes", ("fields",))
    registering = Registering()

    async def decide_under_lock(tx: Transaction) -> Decision:
        registering.begin()
        if await block_types.by_id(tx, body.block_type_id) is None:
            raise UnknownBlockType(body.block_type_id)
        registering.answer = await registering.register(tx, body, None)
        return Decision(appends=registering.appends)

    written = await shell.execute_serially(CONTENTION, decide_under_lock, origin)
    return Registered(registering.answer, bool(written.recorded), written)


class Registering:
    """One registration: what is to be recorded, the innermost schemas first."""

    def __init__(self) -> None:
        self.answer = ""
        self.begin()

    def begin(self) -> None:
        """Forget an attempt that was not recorded."""
        self.appends: list[NewEvents] = []
        self._ids: dict[tuple[str, str], str] = {}
        """Of schemas that are recorded with this one, by checksum and version."""
        self._mentioned: dict[str, str] = {}
        """Ids by the checksum that a schema is mentioned with."""
        self._looked_at = 0

    async def register(
        self,
        tx: Transaction,
        body: BlockSchemaCreate,
        around: Mapping[str, Any] | None,
        depth: int = 0,
    ) -> str:
        """The id of a schema, known or to be recorded. `around`: the definitions of the schema
        that brings it along."""
        definitions = around or definitions_of(body.fields)
        sum_ = checksum(body.fields, definitions)
        if (id_ := self._ids.get((sum_, body.version))) is not None:
            return id_
        known = await block_schemas.by_checksum(tx, sum_, body.version)
        if known is not None:
            return known.id
        if depth > NESTED_DEPTH_MAX:
            raise Invalid(f"Schemas may be nested {NESTED_DEPTH_MAX} levels deep", ("fields",))
        references = await self._references(tx, body, definitions, depth)
        id_ = new_id()
        command = CreateBlockSchema(
            id=id_, body=body, checksum=sum_, references=references, definitions=definitions
        )
        self.appends.append(appended(CATEGORY, id_, decide(command, None)))
        self._ids[sum_, body.version] = id_
        return id_

    async def _references(
        self,
        tx: Transaction,
        body: BlockSchemaCreate,
        definitions: Mapping[str, Any],
        depth: int,
    ) -> tuple[SchemaReference, ...]:
        found: dict[SchemaReference, None] = {}
        for one in mentioned(body.fields):
            self._looked_at += 1
            if self._looked_at > NESTED_SCHEMAS_MAX:
                raise Invalid(
                    f"Schemas that are registered at once may refer to others "
                    f"{NESTED_SCHEMAS_MAX} times; register some of them first",
                    ("fields",),
                )
            of_type = await block_types.by_slug(tx, one.slug)
            if of_type is None:
                raise Conflict(
                    f"The field {one.name!r} refers to block type {one.slug!r}, which is not "
                    "registered. Register that block type first."
                )
            id_ = self._mentioned.get(one.checksum)
            if id_ is None and (known := await block_schemas.by_checksum(tx, one.checksum)):
                id_ = known.id
            if id_ is None:
                nested = BlockSchemaCreate(
                    fields=fields_of_nested(body.fields, one, definitions),
                    block_type_id=of_type.id,
                )
                id_ = await self.register(tx, nested, definitions, depth + 1)
                self._mentioned[one.checksum] = id_
            found[SchemaReference(one.name, id_)] = None
        return tuple(found)

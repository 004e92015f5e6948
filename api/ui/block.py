"""One block: its values without the secrets, the blocks that it refers to, who refers to it."""

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from api.ui.block_form import block
from api.ui.blocks import any_block
from api.ui.page import Missing, Page, Region, Visit
from api.ui.schema_shapes import as_json
from orchestration.block_documents import BlockDocument
from orchestration.block_schemas import BlockSchema
from orchestration.block_secrets import OBSCURED
from orchestration.block_types import BlockType
from projections import block_documents, block_references, block_schemas, block_types

IN_A_LINE_CHARACTERS_MAX = 100
"""What is longer has lines of its own."""
REFERRING_SHOWN = 50
"""Blocks that refer to this one; more are in the list of blocks."""


class Value(Struct, frozen=True):
    """A field of the block."""

    name: str
    label: str
    text: str
    """Empty: nothing is set, or it is a reference."""
    secret: bool
    long: bool
    block: BlockDocument | None = None
    """That it refers to."""


class One(Struct, frozen=True):
    """The block."""

    block: BlockDocument
    type: BlockType
    schema: BlockSchema | None
    values: Sequence[Value]
    referring: Sequence[BlockDocument]
    """At most `REFERRING_SHOWN`."""
    referring_in_all: int


async def one(visit: Visit) -> One:
    """The block with everything around it. Raises Missing."""
    database, of = visit.server.database, await block(visit)
    type = await block_types.by_id(database, of.block_type_id)
    if type is None:
        raise Missing("The type of this block does not exist any more")
    schema = await block_schemas.by_id(database, of.block_schema_id)
    others = await block_documents.by_ids(database, of.references.values())
    referring, in_all = await block_references.referring(database, of.id, REFERRING_SHOWN)
    return One(
        block=of,
        type=type,
        schema=schema,
        values=_values(of, schema, others),
        referring=referring,
        referring_in_all=in_all,
    )


def _values(
    of: BlockDocument, schema: BlockSchema | None, others: Mapping[str, BlockDocument]
) -> list[Value]:
    members = {} if schema is None else schema.fields.get("properties")
    members = members if isinstance(members, dict) else {}
    names = dict.fromkeys((*members, *of.data, *of.references))
    return [_value(name, members.get(name), of, others) for name in names]


def _value(name: str, member: Any, of: BlockDocument, others: Mapping[str, BlockDocument]) -> Value:
    title = member.get("title") if isinstance(member, dict) else None
    label = title if isinstance(title, str) and title else name
    if name in of.references:
        other = others.get(of.references[name])
        text = "" if other else "a block that was deleted"
        return Value(name, label, text, secret=False, long=False, block=other)
    held = of.data.get(name)
    if held is None:
        return Value(name, label, "", secret=False, long=False)
    text = held if isinstance(held, str) else as_json(held)
    long = len(text) > IN_A_LINE_CHARACTERS_MAX or "\n" in text
    return Value(name, label, text, secret=held == OBSCURED, long=long)


page = Page(
    path="/blocks/block/{id:uuid}",
    template="block.html",
    title="Block",
    section="/blocks",
    regions=(Region("one", one, any_block),),
    styles=("flow_run.css", "blocks.css"),
)

"""The blocks of one type: /block_types/slug/{slug}/block_documents."""

from api.errors import there
from api.http import Answer, Area, Call, ok
from api.routes.block_documents import INCLUDE_SECRETS, one, shown
from api.routes.block_types import ABSENT
from api.truth import truth
from projections import block_documents, block_types
from projections.block_documents import ShownDocument

area = Area("/block_types", "Block documents")


@area.get(
    "/slug/{slug:str}/block_documents",
    answers={200: list[ShownDocument]},
    query=(INCLUDE_SECRETS,),
)
async def read_block_documents_of_type(call: Call) -> Answer:
    """Every block of a type that has a name of its own, by name."""
    database = call.server.database
    of_type = there(await block_types.by_slug(database, call.path["slug"]), ABSENT)
    found = await block_documents.named_of_type(database, of_type.id)
    return ok(await shown(call, found, truth(call, "include_secrets")))


@area.get(
    "/slug/{slug:str}/block_documents/name/{block_document_name:str}",
    answers={200: ShownDocument},
    query=(INCLUDE_SECRETS,),
)
async def read_block_document_by_name(call: Call) -> Answer:
    """The block of a type under a name; this is what clients load."""
    database = call.server.database
    of_type = await block_types.by_slug(database, call.path["slug"])
    name = call.path["block_document_name"]
    found = of_type and await block_documents.by_name(database, of_type.id, name)
    return await one(call, found or None, truth(call, "include_secrets"))

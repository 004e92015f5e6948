"""What can be done with blocks and their types: delete them."""

from api.ui.page import Action, Ask, Deed, Said
from api.ui.shown import counted, number
from orchestration.block_documents import BlockDocument
from orchestration.block_types import BlockType
from orchestration.identifiers import canonical
from orchestration.refusals import Invalid, NotFound
from projections import block_documents, block_references, block_schemas, block_types
from services import block_documents as documents
from services import block_removal

REFERRING_NAMED = 3


def _id(deed: Deed) -> str:
    try:
        return canonical(deed.form.one("id"))
    except ValueError:
        raise Invalid("Choose a block first.") from None


async def _block(deed: Deed) -> BlockDocument:
    found = await block_documents.by_id(deed.visit.server.database, _id(deed))
    if found is None:
        raise NotFound("Block", _id(deed))
    return found


async def _type(deed: Deed) -> BlockType:
    found = await block_types.by_id(deed.visit.server.database, _id(deed))
    if found is None:
        raise NotFound("Block type", _id(deed))
    return found


async def ask_delete(deed: Deed) -> Ask:
    """Names what is lost, and who misses it."""
    database, block = deed.visit.server.database, await _block(deed)
    texts = ["This cannot be undone. Flows and deployments that load it fail."]
    referring, in_all = await block_references.referring(database, block.id, REFERRING_NAMED)
    if referring:
        names = ", ".join(f"{one.block_type_name} {one.name}" for one in referring)
        more = in_all - len(referring)
        and_more = f" and {number(more)} more; its page leads to all of them" if more else ""
        texts.append(f"Other blocks refer to it: {names}{and_more}.")
    secrets = " with its secret values" if block.secret is not None else ""
    return Ask(
        title=f"Delete the block {block.name}?",
        text=" ".join(texts),
        button="Delete the block",
        lost=(f"the {block.block_type_name} block {block.name}{secrets}",),
    )


async def delete(deed: Deed) -> Said:
    """Forget a block."""
    server, block = deed.visit.server, await _block(deed)
    await documents.delete(server.shell, server.vault, block.id, deed.origin)
    go = "blocks" if "from" in deed.form else None
    return Said(f"Deleted the block {block.name}.", go=go)


async def ask_delete_type(deed: Deed) -> Ask:
    """Names what goes with the type."""
    database, type = deed.visit.server.database, await _type(deed)
    blocks = len(await block_documents.of_type(database, type.id))
    schemas = len(await block_schemas.of_type(database, type.id))
    numbers = ((blocks, "block"), (schemas, "schema"))
    return Ask(
        title=f"Delete the block type {type.name}?",
        text="This cannot be undone. Whoever registers the type again starts without its blocks.",
        button="Delete the type",
        lost=(f"the block type {type.name}", *(counted(n, what) for n, what in numbers if n)),
    )


async def delete_type(deed: Deed) -> Said:
    """Forget a type with its blocks."""
    server, type = deed.visit.server, await _type(deed)
    await block_removal.delete_type(server.shell, server.vault, type.id, deed.origin)
    return Said(f"Deleted the block type {type.name}.", go="blocks/catalog")


ACTIONS = (
    Action("/blocks/actions/delete", delete, ask_delete),
    Action("/blocks/actions/delete-type", delete_type, ask_delete_type),
)

"""Where results are stored unless a flow says otherwise: /admin/storage."""

from msgspec import Struct

from api.http import NO_CONTENT, Answer, Area, Call, ok
from orchestration.identifiers import canonical
from orchestration.result_storage import ResultStorageUpdate
from projections import result_storage
from services import result_storage as commands

area = Area("/admin/storage", "Admin")


class DefaultResultStorage(Struct, frozen=True):
    """The block that names the storage; None: each client's own default."""

    default_result_storage_block_id: str | None = None


@area.get("", answers={200: DefaultResultStorage})
async def read_default_result_storage(call: Call) -> Answer:
    """The server's default for result storage."""
    return ok(await _shown(call))


@area.put("", body=ResultStorageUpdate, answers={200: DefaultResultStorage})
async def update_default_result_storage(call: Call, body: ResultStorageUpdate) -> Answer:
    """Make a block the default for result storage."""
    id_ = canonical(body.default_result_storage_block_id)
    await commands.choose(call.server.shell, id_, call.origin)
    return ok(await _shown(call))


@area.delete("", answers={204: None})
async def clear_default_result_storage(call: Call) -> Answer:
    """Have no default for result storage."""
    await commands.clear(call.server.shell, call.origin)
    return NO_CONTENT


async def _shown(call: Call) -> DefaultResultStorage:
    storage = await result_storage.current(call.server.database)
    return DefaultResultStorage(storage.block_document_id if storage is not None else None)

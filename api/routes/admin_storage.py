"""Where results are stored unless a flow says otherwise: /admin/storage."""

from msgspec import Struct

from api.http import Answer, Area, Call, ok

area = Area("/admin/storage", "Admin")


class DefaultResultStorage(Struct, frozen=True):
    """The block that names the storage; None: each client's own default."""

    default_result_storage_block_id: str | None = None


@area.get("", answers={200: DefaultResultStorage})
async def read_default_result_storage(call: Call) -> Answer:
    """The server's default for result storage. It would be a block, and there are no blocks yet."""
    return ok(DefaultResultStorage())

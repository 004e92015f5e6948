"""What blocks can do: /block_capabilities."""

from api.http import Answer, Area, Call, ok
from projections import block_schemas

area = Area("/block_capabilities", "Block capabilities")


@area.get("/", answers={200: list[str]})
async def read_block_capabilities(call: Call) -> Answer:
    """Everything that blocks of some schema can do."""
    return ok(await block_schemas.capabilities(call.server.database))

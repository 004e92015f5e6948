"""Automations: /automations. There are none yet; who looks at a deployment asks for those of it."""

from api.http import Answer, Area, Call, ok

area = Area("/automations", "Automations")


@area.get("/related-to/{resource_id:str}", answers={200: list[dict[str, object]]})
async def read_related_automations(call: Call) -> Answer:
    """The automations that have to do with a resource: none can be made here yet."""
    return ok([])

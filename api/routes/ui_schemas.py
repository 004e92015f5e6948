"""Whether what a form was filled in with fits its schema: /ui/schemas/validate."""

from typing import Any

from msgspec import Struct, field

from api.errors import HttpError
from api.http import Answer, Area, Call, ok
from projections import variables
from services.large_schemas import by_schema

area = Area("/ui/schemas", "UI")


class Trial(Struct, frozen=True, kw_only=True):
    """The body of `POST /ui/schemas/validate`."""

    json_schema: dict[str, Any] = field(name="schema")
    values: dict[str, Any]


class Tried(Struct, frozen=True, kw_only=True):
    """The answer: errors of the whole are texts, those of a part have its name or number."""

    errors: list[Any]
    valid: bool


@area.post("/validate", body=Trial, by_field=True, answers={200: Tried})
async def validate_values(call: Call, body: Trial) -> Answer:
    """Check values, some of which are still to be filled in, by a JSON schema."""
    # Loads a library that few servers need at start.
    from orchestration.value_schemas import CannotCheck, nested, tried, variables_in

    database = call.server.database
    known = await variables.values_of(database, database.dialect, variables_in(body.values))
    try:
        found = await by_schema(
            body.json_schema, lambda: tried(body.values, body.json_schema, known)
        )
    except CannotCheck as why:
        raise HttpError(422, {"detail": str(why)}) from None
    return ok(Tried(errors=nested(found), valid=not found))

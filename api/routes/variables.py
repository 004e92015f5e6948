"""Variables: /variables."""

from msgspec import Struct

from api.errors import not_found, there
from api.http import NO_CONTENT, Answer, Area, Call, ok
from api.lists import array, limited
from orchestration.documents import document
from orchestration.refusals import NotFound
from orchestration.variables import Variable, VariableCreate, VariableUpdate
from projections import variables
from projections.paging import Offset
from projections.variables import VariableFilter, VariableSort
from services import variables as commands

_ABSENT = "Variable not found."

area = Area("/variables", "Variables")


class VariableQuery(Struct, frozen=True, kw_only=True):
    """The body of `POST /variables/filter`."""

    variables: VariableFilter | None = None
    sort: VariableSort = "NAME_ASC"
    limit: int | None = None
    offset: Offset = 0


class VariableCount(Struct, frozen=True, kw_only=True):
    """The body of `POST /variables/count`."""

    variables: VariableFilter | None = None


async def _named(call: Call) -> Variable:
    """The variable that the path names. Raises HttpError 404."""
    found = await variables.by_name(call.server.database, call.path["name"])
    return there(found, _ABSENT)


@area.post("/", body=VariableCreate, answers={201: Variable})
async def create_variable(call: Call, body: VariableCreate) -> Answer:
    """Give a value a name."""
    id_, written = await commands.create(call.server.shell, body, call.origin)
    made = there(await variables.by_id(call.server.database, id_), _ABSENT)
    return Answer(201, document(made), position=written.position)


@area.get("/{id:uuid}", answers={200: Variable})
async def read_variable(call: Call) -> Answer:
    """Read a variable."""
    found = await variables.by_id(call.server.database, call.id)
    return Answer(200, document(there(found, _ABSENT)))


@area.get("/name/{name:str}", answers={200: Variable})
async def read_variable_by_name(call: Call) -> Answer:
    """Read the variable of a name."""
    return Answer(200, document(await _named(call)))


@area.post("/filter", body=VariableQuery, body_optional=True, answers={200: list[Variable]})
async def read_variables(call: Call, body: VariableQuery) -> Answer:
    """Variables that match."""
    database = call.server.database
    limit = limited(call, body.limit)
    found = await variables.some(
        database, database.dialect, body.variables, body.sort, limit, body.offset
    )
    return array(found)


@area.post("/count", body=VariableCount, body_optional=True, answers={200: int})
async def count_variables(call: Call, body: VariableCount) -> Answer:
    """How many variables match."""
    database = call.server.database
    count = await variables.number(database, database.dialect, body.variables)
    return ok(count)


@area.patch("/{id:uuid}", body=VariableUpdate, answers={204: None})
async def update_variable(call: Call, body: VariableUpdate) -> Answer:
    """Change a variable."""
    return await _update(call, call.id, body)


@area.patch("/name/{name:str}", body=VariableUpdate, answers={204: None})
async def update_variable_by_name(call: Call, body: VariableUpdate) -> Answer:
    """Change the variable of a name."""
    return await _update(call, (await _named(call)).id, body)


async def _update(call: Call, id_: str, body: VariableUpdate) -> Answer:
    try:
        await commands.update(call.server.shell, id_, body, call.origin)
    except NotFound:
        raise not_found(_ABSENT) from None
    return NO_CONTENT


@area.delete("/{id:uuid}", answers={204: None})
async def delete_variable(call: Call) -> Answer:
    """Delete a variable."""
    return await _delete(call, call.id)


@area.delete("/name/{name:str}", answers={204: None})
async def delete_variable_by_name(call: Call) -> Answer:
    """Delete the variable of a name."""
    return await _delete(call, (await _named(call)).id)


async def _delete(call: Call, id_: str) -> Answer:
    try:
        await commands.delete(call.server.shell, id_, call.origin)
    except NotFound:
        raise not_found(_ABSENT) from None
    return NO_CONTENT

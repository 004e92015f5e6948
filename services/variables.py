"""What can be done with variables. Names are unique, so commands are decided one by one."""

from eventstore.committer import Written
from eventstore.database import Transaction
from eventstore.ids import new_id
from eventstore.log import Decision
from orchestration.variables import (
    CreateVariable,
    DeleteVariable,
    UpdateVariable,
    Variable,
    VariableCommand,
    VariableCreate,
    VariableUpdate,
    decide,
)
from projections import variables
from services.shell import Origin, Shell, appended

CATEGORY = "variable"
_CONTENTION = "variable-names"


async def create(shell: Shell, body: VariableCreate, origin: Origin) -> tuple[str, Written]:
    """Give a value a name: the variable's id. Raises Conflict if the name is taken."""
    id_ = new_id()

    async def decide_under_lock(tx: Transaction) -> Decision:
        taken = await variables.by_name(tx, body.name) is not None
        return _decided(CreateVariable(id=id_, body=body, name_is_taken=taken), None)

    return id_, await shell.execute_serially(_CONTENTION, decide_under_lock, origin)


async def update(shell: Shell, id_: str, body: VariableUpdate, origin: Origin) -> None:
    """Change a variable. Raises NotFound, and Conflict if its new name is taken."""

    async def decide_under_lock(tx: Transaction) -> Decision:
        holder = await variables.by_name(tx, body.name) if isinstance(body.name, str) else None
        taken = holder is not None and holder.id != id_
        command = UpdateVariable(id=id_, body=body, name_is_taken=taken)
        return _decided(command, await variables.by_id(tx, id_))

    await shell.execute_serially(_CONTENTION, decide_under_lock, origin)


async def delete(shell: Shell, id_: str, origin: Origin) -> None:
    """Forget a variable. Raises NotFound."""

    async def decide_under_lock(tx: Transaction) -> Decision:
        return _decided(DeleteVariable(id=id_), await variables.by_id(tx, id_))

    await shell.execute_serially(_CONTENTION, decide_under_lock, origin)


def _decided(command: VariableCommand, variable: Variable | None) -> Decision:
    own = appended(CATEGORY, command.id, decide(command, variable))
    return Decision(appends=(own,))

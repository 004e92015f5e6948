"""Forms that change something which somebody else may change while they are open.

Such a form carries what it was made from: a digest of every value that can be changed in it. What
is sent is recorded only if these are still the values at that moment, which is looked at in the
transaction that records it; otherwise the person is asked, and told what is there now. An action
that asks for a value carries it in its question, and in the way back from what it did.
"""

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

import msgspec
from msgspec.structs import replace

from api.ui.page import Ask, Edits, Visit
from api.ui.query import Query
from eventstore.database import Transaction
from orchestration.refusals import Refusal
from services.shell import Origin, Proviso

MADE_FROM = "made_from"
"""Name of the form's field."""
SHOWN_CHARACTERS_MAX = 120
"""Of a value that is there now."""


class ChangedMeanwhile(Refusal):
    """What a form changes is not any more what the form was made from."""

    def __init__(self, made_from: str, changed: Sequence[str], doing: str | None = None) -> None:
        super().__init__("This was changed while the form was open; nothing was saved")
        self.made_from = made_from
        """What the form would carry if it was made now."""
        self.changed = changed
        """What is there now that was not, with what it is called in the form."""
        self.doing = doing
        """What is to be done to it, as its button says; None: something is saved in its place."""


async def made_from(visit: Visit, edits: Edits) -> str:
    """What the form of a page carries. To be asked before what the form is filled in with."""
    edited = await edits(visit, Query([]))
    values = None if edited is None else await edited.values(visit.server.database)
    return "" if values is None else _digests(values)


def carried(values: Mapping[str, Any]) -> tuple[str, str]:
    """The field of a question, or of an Undo, that was made from these values."""
    return MADE_FROM, _digests(values)


async def provided(origin: Origin, visit: Visit, form: Query, edits: Edits) -> Origin:
    """Whoever sent a form, who saves it only if nobody else did. Commands raise ChangedMeanwhile.

    A form that carries nothing was not made from anything: it makes something new.
    """
    edited = await edits(visit, form)
    if edited is None or MADE_FROM not in form:
        return origin

    async def check(tx: Transaction) -> None:
        values = await edited.values(tx)
        if values is None:
            return  # It was deleted, which the command finds out.
        changed = [
            f"{name}: {'another one' if name in edited.unseen else _shown(values[name])}"
            for name in differing(form, values)
        ]
        if changed:
            raise ChangedMeanwhile(_digests(values), changed)

    return replace(origin, proviso=Proviso(edited.stream, check))


def differing(form: Query, values: Mapping[str, Any]) -> Sequence[str]:
    """The names of those values that are not any more what a form was made from."""
    seen = _parsed(form.one(MADE_FROM))
    return [name for name, one in values.items() if seen.get(name) != _digest(one)]


def question(error: ChangedMeanwhile, asked: bool) -> Ask:
    """Whether to save what was typed in place of what somebody else saved meanwhile. `asked`: it
    was typed into a question, which is not there any more, and not into a form of the page."""
    button = "Save mine instead"
    if error.doing is not None:
        title = "This was changed meanwhile"
        text = "Nothing was done. Cancel to leave what is there now:"
        button = f"{error.doing} all the same"
    elif asked:
        title = "This was changed meanwhile"
        text = "Nothing was saved. Cancel to leave what is there now, or save yours in its place:"
    else:
        title = "This was changed while the form was open"
        text = (
            "Nothing was saved. What you typed is still in the form: cancel to look at it again, "
            "or save it in place of what is there now:"
        )
    return Ask(
        title=title,
        text=text,
        button=button,
        lost=error.changed,
        sent=((MADE_FROM, error.made_from),),
    )


def _digest(value: Any) -> str:
    text = msgspec.json.encode(value, order="deterministic")
    return blake2b(text, digest_size=8).hexdigest()


def _digests(values: Mapping[str, Any]) -> str:
    return msgspec.json.encode({name: _digest(one) for name, one in values.items()}).decode()


def _parsed(text: str) -> Mapping[str, str]:
    """Without any, if somebody wrote something else: then everything has changed."""
    try:
        return msgspec.json.decode(text, type=dict[str, str])
    except msgspec.DecodeError:
        return {}


def _shown(value: Any) -> str:
    if value is None or value == "" or value == {}:
        return "none"
    if isinstance(value, list | tuple) and all(isinstance(one, str) for one in value):
        value = ", ".join(value) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    text = " ".join(text.split())
    cut = len(text) > SHOWN_CHARACTERS_MAX
    return f"{text[:SHOWN_CHARACTERS_MAX]}…" if cut else text

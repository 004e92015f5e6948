"""What can be done with an artifact: delete it."""

from api.ui.page import Action, Ask, Deed, Said
from orchestration.identifiers import canonical
from orchestration.refusals import Invalid, NotFound
from projections import artifact_pages
from services import artifacts


def _id(deed: Deed) -> str:
    try:
        return canonical(deed.form.one("id"))
    except ValueError:
        raise Invalid(f"{deed.form.one('id')[:40]!r} is not an id") from None


async def ask_delete(deed: Deed) -> Ask:
    """Names what is lost."""
    about = await artifact_pages.one(deed.visit.server.database, _id(deed))
    if about is None:
        raise NotFound("Artifact", _id(deed))
    key = about.artifact.key
    name = f"the artifact {key}" if key else "an artifact without a key"
    return Ask(
        title="Delete this artifact?",
        text="This cannot be undone."
        + (" The version before becomes the latest of its key." if key else ""),
        button="Delete artifact",
        lost=(name,),
    )


async def delete(deed: Deed) -> Said:
    """Forget an artifact."""
    await artifacts.delete(deed.visit.server.shell, _id(deed), deed.origin)
    return Said("Deleted the artifact.")


ACTIONS = (Action("/artifacts/actions/delete", delete, ask_delete),)

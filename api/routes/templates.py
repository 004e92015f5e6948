"""Whether templates can be used: /templates/validate."""

from typing import Any

from api.http import NO_CONTENT, Answer, Area, Call, ok

area = Area("", "Automations")


async def _validate(template: str) -> Answer:
    from orchestration import user_templates  # Loads Jinja, which few servers need at start.

    fault = user_templates.fault(template)
    if fault is None:
        return NO_CONTENT
    source = template[: user_templates.CHARACTERS_MAX]
    error: dict[str, Any] = {"line": fault.line, "message": fault.message, "source": source}
    return ok({"error": error}, 422)


@area.post("/templates/validate", body=str | None, body_optional=True, answers={204: None})
async def validate_template(call: Call, body: str | None) -> Answer:
    """Whether a template can be used; what is wrong with it is said with status 422."""
    return await _validate(body or "")


@area.post(
    "/automations/templates/validate", body=str | None, body_optional=True, answers={204: None}
)
async def validate_automation_template(call: Call, body: str | None) -> Answer:
    """The same, at an older place."""
    return await _validate(body or "")

"""What goes wrong becomes a status and a body, in one table.

The bodies have the shapes that Prefect's clients know: `{"detail": …}`, `{"exception_message": …}`,
and for an invalid body a list that names each place.
"""

import logging
import re
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, TypeVar, get_args, get_origin

import msgspec

from eventstore.errors import (
    ContentionTimeout,
    DatabaseUnavailable,
    LogReplaced,
    Overloaded,
    ReadOnly,
    UnknownEvent,
)
from orchestration.documents import too_deep
from orchestration.refusals import (
    Conflict,
    Faulty,
    Invalid,
    NotFound,
    NotNow,
    Protected,
    Unsuitable,
)
from services.master_keys import SecretsLocked

logger = logging.getLogger(__name__)

T = TypeVar("T")

ECHO_BYTES_MAX = 256 * 1024
"""A longer body is not sent back to whoever sent it; neither are parts of it that together may be
longer."""
SHOWN_CHARACTERS_MAX = 100
"""Of what is shown of a header that was not understood."""
RETRY_AFTER_SECONDS = 1
"""What a client is told to wait when the database is away, the queue is full, or this process is
about to end because the log is another one."""


class HttpError(Exception):
    """An answer that is an error, raised where it becomes clear."""

    def __init__(self, status: int, body: Any, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
        super().__init__(f"{status}: {body}")
        self.status, self.body, self.headers = status, body, headers


def not_found(message: str) -> HttpError:
    """404 in the shape of most entities: `{"detail": "Flow not found"}`."""
    return HttpError(404, {"detail": message})


def there(found: T | None, message: str) -> T:
    """What was looked for. Raises HttpError 404, in the shape of most entities, if it is none."""
    if found is None:
        raise not_found(message)
    return found


def missing(message: str) -> HttpError:
    """404 in the shape of the orchestration endpoints: `{"exception_message": …}`."""
    return HttpError(404, {"exception_message": message})


def too_large(bytes_max: int) -> HttpError:
    """The request body is longer than this server reads."""
    return HttpError(413, {"detail": f"The request body is larger than {bytes_max} bytes."})


def not_json(content_type: bytes) -> HttpError:
    """The request body says that it is something else than JSON."""
    given = content_type.decode("latin-1")[:SHOWN_CHARACTERS_MAX]
    return HttpError(
        415,
        {"detail": f"The body has to be JSON, sent as application/json and not as {given}."},
    )


def invalid(
    loc: Sequence[str | int], kind: str, message: str, given: Any = None, request_body: Any = None
) -> HttpError:
    """422 for one wrong value at `loc`."""
    return HttpError(
        422,
        {
            "exception_message": "Invalid request received.",
            "exception_detail": [{"type": kind, "loc": list(loc), "msg": message, "input": given}],
            "request_body": request_body,
        },
    )


_PLACE = re.compile(r" - at `\$([^`]*)`$")
_STEP = re.compile(r"\.([^.\[]+)|\[(\d+)\]|\[\.\.\.\]")
_MISSING = re.compile(r"Object missing required field `([^`]+)`")
_UNKNOWN = re.compile(r"Object contains unknown field `([^`]+)`")
_KINDS: Sequence[tuple[re.Pattern[str], str]] = (
    (re.compile(re.escape("matching regex '^[0-9a-fA-F]{8}-?")), "uuid_parsing"),
    (re.compile(re.escape("matching regex '^[a-z0-9") + "_?" + re.escape("-]*$'")), "value_error"),
    (re.compile(r"matching regex"), "string_pattern_mismatch"),
    (re.compile(r"Invalid enum value"), "enum"),
    (re.compile(r"Invalid RFC3339"), "datetime_from_date_parsing"),
    (re.compile(r"Expected `\w+` >= "), "greater_than_equal"),
    (re.compile(r"Expected `\w+` > "), "greater_than"),
    (re.compile(r"Expected `\w+` <= "), "less_than_equal"),
    (re.compile(r"Expected `\w+` < "), "less_than"),
    (re.compile(r"of length >= "), "too_short"),
    (re.compile(r"of length <= "), "too_long"),
    (re.compile(r"Expected `object"), "model_attributes_type"),
    (re.compile(r"Expected `(str|uuid|datetime)"), "string_type"),
    (re.compile(r"Expected `array"), "list_type"),
    (re.compile(r"Expected `int"), "int_parsing"),
    (re.compile(r"Expected `float"), "float_parsing"),
    (re.compile(r"Expected `bool"), "bool_parsing"),
)


def invalid_body(error: Exception, body: bytes, kind: Any, *, by_field: bool = False) -> HttpError:
    """422 for a body that is not JSON or not what the endpoint takes, which is `kind`.

    `by_field`: Prefect reads every field of this body by itself, see `api.http.Endpoint`.
    """
    if not body or body == b"null":
        return invalid(("body",), "missing", "Field required")
    if not isinstance(error, msgspec.ValidationError):
        text = body.decode(errors="replace") if len(body) <= ECHO_BYTES_MAX else None
        return invalid(("body", 0), "json_invalid", f"JSON decode error: {error}", {}, text)
    content = body_content(body)
    message = str(error)
    loc: list[str | int] = ["body"]
    place = _PLACE.search(message)
    given: Any = content
    if place is not None:
        message = message[: place.start()]
    if place is not None and content is not None:
        steps = _STEP.findall(place.group(1))
        for passed, (name, index) in enumerate(steps, 1):
            if name or index:
                loc.append(name or int(index))
            else:
                loc.append(_key_at_fault(given, steps[passed:], message))
            given = _inside(given, loc[-1])
    if _MISSING.search(message) and (errors := _all_missing(kind, loc, given)):
        if by_field and len(loc) == 1:
            for one in errors:
                one["input"] = None
        return HttpError(
            422,
            {
                "exception_message": "Invalid request received.",
                "exception_detail": errors,
                "request_body": content,
            },
        )
    for pattern, fault in ((_MISSING, "missing"), (_UNKNOWN, "extra_forbidden")):
        found = pattern.search(message)
        if found is not None:
            loc.append(found.group(1))
            shown = _inside(given, loc[-1]) if pattern is _UNKNOWN else given
            return invalid(loc, fault, message, shown, content)
    fault = next((fault for pattern, fault in _KINDS if pattern.search(message)), "value_error")
    if place is None and get_origin(kind) is dict:
        fault = "dict_type"
    return invalid(loc, fault, message, given, content)


_GOT = re.compile(r", got `(\w+)`$")
_JSON_TYPES: dict[str, tuple[type, ...]] = {
    "null": (type(None),),
    "bool": (bool,),
    "int": (int,),
    "float": (float,),
    "str": (str,),
    "array": (list,),
    "object": (dict,),
}


def _key_at_fault(given: Any, beyond: Sequence[tuple[str, str]], message: str) -> str | int:
    """The key of what is wrong in an object with free keys, where the decoder only says `[...]`.

    It is the first one from which the steps `beyond` lead to something that the message fits."""
    if not isinstance(given, dict):
        return 0
    for key, value in given.items():
        if any(_is_complained_of(end, message) for end in _ends(value, beyond)):
            return str(key)
    return 0


def _ends(value: Any, steps: Sequence[tuple[str, str]]) -> Iterator[Any]:
    """What such steps lead to, by any key where a step names none."""
    if not steps:
        yield value
        return
    (name, index), *further = steps
    if name or index:
        yield from _ends(_inside(value, name or int(index)), further)
    elif isinstance(value, dict):
        for one in value.values():
            yield from _ends(one, further)


def _is_complained_of(value: Any, message: str) -> bool:
    """Whether it may be this value that the decoder says this of."""
    if got := _GOT.search(message):
        return type(value) in _JSON_TYPES.get(got.group(1), ())
    if missing := _MISSING.search(message):
        return isinstance(value, dict) and missing.group(1) not in value
    if unknown := _UNKNOWN.search(message):
        return isinstance(value, dict) and unknown.group(1) in value
    return False


def _all_missing(kind: Any, loc: list[str | int], given: Any) -> list[dict[str, Any]]:
    """Every field that is missing at `loc`, for the decoder stops at the first; empty if the type
    that is wanted there is hard to tell."""
    for step in loc[1:]:
        if get_origin(kind) is Annotated:
            kind = get_args(kind)[0]
        if isinstance(step, int):
            kind = next(iter(get_args(kind)), None)
        elif isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            kind = next(
                (f.type for f in msgspec.structs.fields(kind) if f.encode_name == step), None
            )
    wants_struct = isinstance(kind, type) and issubclass(kind, msgspec.Struct)
    if not wants_struct or not isinstance(given, dict):
        return []
    return [
        {
            "type": "missing",
            "loc": [*loc, field.encode_name],
            "msg": "Field required",
            "input": given,
        }
        for field in msgspec.structs.fields(kind)
        if field.required and field.encode_name not in given
    ]


def _inside(given: Any, step: str | int) -> Any:
    try:
        return given[step]
    except (KeyError, IndexError, TypeError):
        return None


def body_content(body: bytes) -> Any:
    """What a body says, for the echo; None if it cannot be told, or not be sent back."""
    if not body or len(body) > ECHO_BYTES_MAX or too_deep(body):
        return None
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def http_error(error: Exception, body: bytes) -> HttpError:
    """The one place where an exception becomes an answer. `body` is the request's, for the echo."""
    match error:
        case HttpError():
            return error
        case NotFound():
            return not_found(str(error))
        case Invalid():
            loc = ("body", *error.field)
            return invalid(loc, "value_error", str(error), None, body_content(body))
        case Faulty():
            # Each fault may show all that was given: something is missing from it.
            shown = len(body) * len(error.faults) <= ECHO_BYTES_MAX
            return HttpError(
                422,
                {
                    "exception_message": "Invalid request received.",
                    "exception_detail": [
                        {
                            "type": one.kind,
                            "loc": ["body", *one.place],
                            "msg": one.message,
                            "input": one.given if shown else None,
                        }
                        for one in error.faults
                    ],
                    "request_body": body_content(body),
                },
            )
        case Conflict():
            return HttpError(409, {"detail": str(error)})
        case Protected():
            return HttpError(403, {"detail": str(error)})
        case NotNow():
            return HttpError(400, {"detail": str(error)})
        case Unsuitable():
            return HttpError(422, {"detail": str(error)})
        case SecretsLocked():
            logger.error("%s", error)
            return HttpError(500, {"exception_message": str(error)})
        case UnicodeEncodeError():
            return invalid(("body",), "string_unicode", "text holds a lone surrogate", None, None)
        case DatabaseUnavailable() | Overloaded() | ContentionTimeout() | LogReplaced():
            logger.warning("answered 503: %s", error)
            return HttpError(
                503,
                {"exception_message": f"Service Unavailable: {error}"},
                ((b"retry-after", str(RETRY_AFTER_SECONDS).encode()),),
            )
        case ReadOnly():
            return HttpError(
                403, {"detail": f"This server shows the past and changes nothing: {error}"}
            )
        case UnknownEvent():
            return HttpError(503, {"exception_message": str(error)})
        case _:
            logger.error("a request failed", exc_info=error)
            return HttpError(500, {"exception_message": "Internal Server Error"})

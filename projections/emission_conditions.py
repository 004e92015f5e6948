"""Which emissions does a request mean? One declaration, read twice: as SQL and in memory.

A filter becomes a list of conditions. Each kind of condition says what it is in SQL, for the feed
in the database, and whether it holds for one emission, for subscribers of the live feed. A test
holds that both say the same.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, Protocol, TypeAlias, TypeVar

import msgspec
from msgspec import Raw, Struct

from eventstore.database import Dialect
from projections import text_search
from projections.criteria import microseconds, one_of
from projections.emission_filters import (
    EventAnyResourceFilter,
    EventFilter,
    EventNameFilter,
    EventRelatedFilter,
    EventResourceFilter,
    Glimpse,
    OccurredFilter,
    indexed,
)
from projections.where import FALSE, TRUE, Draft, Where, all_of, any_of, storable

# --- Conditions on one resource


class Condition(Protocol):
    """What can be asked of an emission."""

    def sql(self, draft: Draft) -> str: ...
    def holds(self, seen: Glimpse) -> bool: ...


class ResourceCondition(Protocol):
    """What can be asked of one resource of an emission: `role` is empty for the main one."""

    def sql(self, draft: Draft) -> str: ...
    def holds(self, labels: dict[str, str], role: str) -> bool: ...
    @property
    def selective(self) -> bool:
        """Whether an index on the resource's id finds the few rows for which it holds."""
        ...


class _IdIsOneOf(Struct, frozen=True):
    ids: Sequence[str]
    selective: bool = True

    def sql(self, draft: Draft) -> str:
        return one_of("r.resource_id", self.ids, draft)

    def holds(self, labels: dict[str, str], role: str) -> bool:
        return labels.get(RESOURCE_ID) in self.ids


class _IdStartsWith(Struct, frozen=True):
    prefixes: Sequence[str]
    selective: bool = False

    def sql(self, draft: Draft) -> str:
        return starts_with("r.resource_id", self.prefixes, draft)

    def holds(self, labels: dict[str, str], role: str) -> bool:
        return labels.get(RESOURCE_ID, "").startswith(tuple(self.prefixes))


class _RoleIsOneOf(Struct, frozen=True):
    roles: Sequence[str]
    selective: bool = False

    def sql(self, draft: Draft) -> str:
        return one_of("r.role", self.roles, draft)

    def holds(self, labels: dict[str, str], role: str) -> bool:
        return role in self.roles


class _InRoles(Struct, frozen=True):
    pairs: Sequence[tuple[str, str]]
    """Resource id and role."""
    selective: bool = True

    def sql(self, draft: Draft) -> str:
        return any_of(
            [
                all_of([one_of("r.resource_id", [id], draft), one_of("r.role", [role], draft)])
                for id, role in self.pairs
            ]
        )

    def holds(self, labels: dict[str, str], role: str) -> bool:
        return any(labels.get(RESOURCE_ID) == id and role == wanted for id, wanted in self.pairs)


class _LabelMatches(Struct, frozen=True):
    """A label that the resource has matches one of the patterns."""

    label: str
    patterns: Sequence[str]

    @property
    def selective(self) -> bool:
        return self.label == RESOURCE_ID and not any(map(_is_pattern, self.patterns))

    def sql(self, draft: Draft) -> str:
        if self.selective:
            return one_of("r.resource_id", self.patterns, draft)
        return any_of([self._matches(pattern, draft) for pattern in self.patterns])

    def _matches(self, pattern: str, draft: Draft) -> str:
        if not storable(pattern) or not storable(self.label):
            return FALSE
        wanted, glob = _parts(pattern)
        matching = draft.bind(_native(glob, draft.dialect))
        no = "" if wanted else "NOT "
        like = f"{no}LIKE {matching} ESCAPE '\\'"
        if draft.dialect.name != "postgres":
            like = f"{no}GLOB {matching}"
        if self.label == RESOURCE_ID:  # Which is a column: no labels to take apart.
            return f"r.resource_id {like}"
        label = draft.bind(self.label)
        if draft.dialect.name == "postgres":
            return f"(r.labels::json ->> {label}::text) {like}"
        return (
            "EXISTS (SELECT 1 FROM json_each(r.labels) AS held "
            f"WHERE held.key = {label} AND held.value {like})"
        )

    def holds(self, labels: dict[str, str], role: str) -> bool:
        value = labels.get(self.label)
        if value is None or not storable(self.label):
            return False
        for pattern in filter(storable, self.patterns):
            wanted, glob = _parts(pattern)
            if (_regex(glob).fullmatch(value) is not None) is wanted:
                return True
        return False


RESOURCE_ID = "prefect.resource.id"
ROLE = "prefect.resource.role"

_WILDCARDS = frozenset("*?")


def _is_pattern(text: str) -> bool:
    return text.startswith("!") or not _WILDCARDS.isdisjoint(text)


def _parts(pattern: str) -> tuple[bool, str]:
    """Whether a match is wanted, and the pattern without its sign."""
    return not pattern.startswith("!"), pattern.removeprefix("!")


_GLOB_SPECIAL = str.maketrans({"[": "[[]"})
_LIKE_SPECIAL = str.maketrans({"*": "%", "?": "_", "%": "\\%", "_": "\\_", "\\": "\\\\"})


def _native(glob: str, dialect: Dialect) -> str:
    """A pattern as the engine's case-sensitive one: GLOB in SQLite, whose LIKE ignores case."""
    return glob.translate(_GLOB_SPECIAL if dialect.name == "sqlite" else _LIKE_SPECIAL)


def _literal_prefix(text: str, dialect: Dialect) -> str:
    """The engine's pattern for everything that starts with this text."""
    if dialect.name == "postgres":
        return text_search.literal(text) + "%"
    return re.sub(r"[\[*?]", r"[\g<0>]", text) + "*"


def starts_with(column: str, prefixes: Sequence[str], draft: Draft) -> str:
    """SQL: the column begins with one of the prefixes, letter by letter."""
    operator = "GLOB" if draft.dialect.name == "sqlite" else "LIKE"
    return any_of(
        f"{column} {operator} {draft.bind(_literal_prefix(indexed(prefix), draft.dialect))}"
        for prefix in prefixes
        if storable(prefix)
    )


_WILD = {"*": ".*", "?": "."}


def _regex(glob: str) -> re.Pattern[str]:
    return re.compile("".join(_WILD.get(c) or re.escape(c) for c in glob), re.DOTALL)


# --- Conditions on an emission


class _Occurred(Struct, frozen=True):
    since: int | None
    until: int | None

    def sql(self, draft: Draft) -> str:
        return _in_window("emissions.occurred", self, draft)

    def holds(self, seen: Glimpse) -> bool:
        return (self.since is None or self.since <= seen.occurred) and (
            self.until is None or seen.occurred <= self.until
        )


def _in_window(column: str, window: _Occurred, draft: Draft) -> str:
    since, until = window.since, window.until
    return all_of(
        [
            TRUE if since is None else f"{column} >= {draft.bind(since)}",
            TRUE if until is None else f"{column} <= {draft.bind(until)}",
        ]
    )


class _EventIsOneOf(Struct, frozen=True):
    names: Sequence[str]
    wanted: bool

    def sql(self, draft: Draft) -> str:
        return _unless(self.wanted, one_of("emissions.event", self.names, draft))

    def holds(self, seen: Glimpse) -> bool:
        return (seen.event in self.names) is self.wanted


class _EventStartsWith(Struct, frozen=True):
    prefixes: Sequence[str]
    wanted: bool

    def sql(self, draft: Draft) -> str:
        return _unless(self.wanted, starts_with("emissions.event", self.prefixes, draft))

    def holds(self, seen: Glimpse) -> bool:
        return seen.event.startswith(tuple(self.prefixes)) is self.wanted


def _unless(wanted: bool, condition: str) -> str:
    if wanted:
        return condition
    return {TRUE: FALSE, FALSE: TRUE}.get(condition) or f"NOT ({condition})"


class _EmissionIsOneOf(Struct, frozen=True):
    ids: Sequence[str]

    def sql(self, draft: Draft) -> str:
        return one_of("emissions.id", self.ids, draft)

    def holds(self, seen: Glimpse) -> bool:
        return seen.id in self.ids


class _Says(Struct, frozen=True):
    query: str

    def sql(self, draft: Draft) -> str:
        return says(self.query, draft)

    def holds(self, seen: Glimpse) -> bool:
        return text_search.matches(text_search.parse(self.query), _said(seen.document))


_SEARCHED = ("event", "resource", "related", "payload")
"""What of an emission is searched. Not its ids and times, nor what all the parts are called: else
a search for `payload` would find everything, and one for `-id` nothing."""


def says(query: str, draft: Draft) -> str:
    """SQL: the text search finds something in what an emission says."""
    document = "emissions.document"
    # Taken apart once, whatever is asked: that is what it costs.
    if draft.dialect.name == "postgres":
        # Postgres takes no JSON apart that has a NUL in it, anywhere.
        json = f"replace({document}, '\\u0000', '\\ufffd')::json"
        record = (
            f"json_to_record({json}) AS said({', '.join(f'{part} json' for part in _SEARCHED)})"
        )
        said = f"(SELECT concat_ws(' ', {', '.join(_SEARCHED)}) FROM {record})"
    else:
        paths = ", ".join(f"'$.{part}'" for part in _SEARCHED)
        said = f"json_extract({document}, {paths})"
    return all_of(text_search.conditions(query, said, draft, within=document))


class _Said(Struct, frozen=True):
    event: Raw
    resource: Raw
    related: Raw
    payload: Raw


_read = msgspec.json.Decoder(_Said).decode


def _said(document: str) -> str:
    said = _read(document)
    return " ".join(bytes(getattr(said, part)).decode() for part in _SEARCHED)


Scope = Literal["main", "related", "any"]
_SCOPES = {"main": "r.n = 0", "related": "r.n > 0", "any": TRUE}


class _HasResource(Struct, frozen=True):
    """One resource of the emission is all that is asked, at once."""

    scope: Scope
    conditions: Sequence[ResourceCondition]
    window: _Occurred

    @property
    def selective(self) -> bool:
        return any(part.selective for part in self.conditions)

    def asked(self, draft: Draft) -> str:
        """SQL: the row `r` of a resource is all that is asked."""
        return all_of([_SCOPES[self.scope], *(part.sql(draft) for part in self.conditions)])

    def sql(self, draft: Draft) -> str:
        asked = self.asked(draft)
        if asked == FALSE:
            return FALSE
        if self.selective:
            within = _in_window("r.occurred", self.window, draft)
            found = f"SELECT r.position FROM emission_resources AS r WHERE {asked} AND {within}"
            return f"emissions.position IN ({found})"
        own = f"r.position = emissions.position AND {asked}"
        return f"EXISTS (SELECT 1 FROM emission_resources AS r WHERE {own})"

    def holds(self, seen: Glimpse) -> bool:
        first = 1 if self.scope == "related" else 0
        last = 1 if self.scope == "main" else len(seen.resources)
        return any(
            all(
                part.holds(seen.resources[n], seen.resources[n].get(ROLE, "") if n else "")
                for part in self.conditions
            )
            for n in range(first, last)
        )


APART_MAX = 8
"""How many questions about resources are asked each by itself. To Postgres each is one more table
to join: it takes half a minute to plan three hundred of them."""
TOGETHER_MAX = 500
"""Questions in one look. SQLite counts two thousand things at a time at most."""


class _HasEach(Struct, frozen=True):
    """Of each question there is a resource that is all that it asks; one may be so for several."""

    questions: Sequence[_HasResource]

    def sql(self, draft: Draft) -> str:
        """A look at the emission's resources, once for all questions."""
        asked = [question.asked(draft) for question in self.questions]
        if FALSE in asked:
            return FALSE
        each = all_of([f"count(*) FILTER (WHERE {one}) > 0" for one in asked])
        own = "r.position = emissions.position"
        return f"(SELECT {each} FROM emission_resources AS r WHERE {own})"

    def holds(self, seen: Glimpse) -> bool:
        return all(question.holds(seen) for question in self.questions)


def _together(questions: list[_HasResource]) -> Iterable[Condition]:
    """As few conditions as are quick to plan; those that an index answers by themselves."""
    questions.sort(key=lambda question: not question.selective)
    yield from questions[:APART_MAX]
    for first in range(APART_MAX, len(questions), TOGETHER_MAX):
        yield _HasEach(questions[first : first + TOGETHER_MAX])


# --- From a filter to its conditions


def conditions(filter: EventFilter) -> list[Condition]:
    """All that a filter asks, in an order that puts the cheap questions first."""
    asked = filter.occurred or OccurredFilter()
    window = _Occurred(
        None if asked.since is None else microseconds(asked.since),
        None if asked.until is None else microseconds(asked.until),
    )
    found: list[Condition] = [window]
    if filter.id is not None and filter.id.id:
        found.append(_EmissionIsOneOf([str(id) for id in filter.id.id]))
    if filter.event is not None:
        found += _of_event(filter.event)
    asked_of: list[tuple[Scope, _OfResource]] = [
        *(("main", part) for part in _each(filter.resource)),
        *(("related", part) for part in _each(filter.related)),
        *(("any", part) for part in _each(filter.any_resource)),
    ]
    questions = [
        _HasResource(scope, of_resource, window)
        for scope, part in asked_of
        if (of_resource := _of_resource(part))
    ]
    found += _together(questions)
    if filter.text is not None and filter.text.query.strip():
        found.append(_Says(filter.text.query))
    return found


_OfResource: TypeAlias = EventResourceFilter | EventRelatedFilter | EventAnyResourceFilter
P = TypeVar("P", bound=Struct)


def _each(part: P | list[P] | None) -> list[P]:
    if part is None:
        return []
    return part if isinstance(part, list) else [part]


def _of_event(asked: EventNameFilter) -> Iterable[Condition]:
    if asked.prefix:
        yield _EventStartsWith(_indexed(asked.prefix), True)
    if asked.exclude_prefix:
        yield _EventStartsWith(_indexed(asked.exclude_prefix), False)
    if asked.name:
        yield _EventIsOneOf(_indexed(asked.name), True)
    if asked.exclude_name:
        yield _EventIsOneOf(_indexed(asked.exclude_name), False)


def _indexed(texts: Sequence[str]) -> list[str]:
    return [indexed(text) for text in texts]


def _of_resource(asked: _OfResource) -> list[ResourceCondition]:
    found: list[ResourceCondition] = []
    if asked.id:
        found.append(_IdIsOneOf(_indexed(asked.id)))
    if isinstance(asked, EventRelatedFilter):
        if asked.role:
            found.append(_RoleIsOneOf(_indexed(asked.role)))
        if asked.resources_in_roles:
            pairs = asked.resources_in_roles
            found.append(_InRoles([(indexed(id), indexed(role)) for id, role in pairs]))
    elif asked.id_prefix:
        found.append(_IdStartsWith(_indexed(asked.id_prefix)))
    for label, given in (asked.labels or {}).items():
        patterns = [given] if isinstance(given, str) else given
        if label in (RESOURCE_ID, ROLE):
            patterns = _indexed(patterns)
        found.append(_LabelMatches(label, patterns))
    return found


def where(filter: EventFilter, dialect: Dialect, first: int = 1) -> Where:
    """The rows of `emissions` that a filter means; placeholders are numbered from `first`."""
    draft = Draft(dialect)
    return draft.where(all_of([asked.sql(draft) for asked in conditions(filter)]), first)


def predicate(filter: EventFilter) -> Callable[[Glimpse], bool]:
    """Whether a filter means an emission in memory."""
    asked = conditions(filter)

    def holds(seen: Glimpse) -> bool:
        return all(condition.holds(seen) for condition in asked)

    return holds

"""Prefect's search language for texts: `timeout -retry +"connection reset"`.

Words side by side are alternatives, `-` or `!` in front excludes, `+` requires, quotes hold a
phrase together and `\\"` is a quote inside one. Matching is a case-insensitive search for
substrings.
"""

import re

from msgspec import Struct

from projections.where import FALSE, Draft, all_of, any_of, storable

QUERY_LENGTH_MAX = 200
"""Characters."""

# A sign only counts directly before its term; alone it means nothing. A word ends at a quote.
_TERM = re.compile(
    r"""(?: (?P<sign>[-!+])(?=\S) | (?![-!+]) )
        (?: "(?P<phrase>(?:\\.|[^"\\])*\\?)"?
          | (?P<word>[^\s"]+) )""",
    re.VERBOSE | re.DOTALL,
)
_SIGNS = {None: "", "-": "-", "!": "-", "+": "+"}
_ESCAPED = re.compile(r'\\(["\\])')
_WILDCARD = re.compile(r"([\\%_])")


class Search(Struct, frozen=True):
    """A parsed query."""

    include: tuple[str, ...] = ()
    """At least one of these, if there are any."""
    exclude: tuple[str, ...] = ()
    """None of these."""
    require: tuple[str, ...] = ()
    """All of these."""


def parse(query: str) -> Search:
    """Never fails: an unclosed phrase reaches to the end, a sign of its own is ignored."""
    terms: dict[str, list[str]] = {"": [], "-": [], "+": []}
    at = 0
    while at < len(query):
        found = _TERM.match(query, at)
        if found is None:
            at += 1
            continue
        at = found.end()
        phrase = found["phrase"]
        term = found["word"] if phrase is None else _ESCAPED.sub(r"\1", phrase)
        if term.strip():
            terms[_SIGNS[found["sign"]]].append(term)
    return Search(tuple(terms[""]), tuple(terms["-"]), tuple(terms["+"]))


def matches(search: Search, text: str) -> bool:
    """Whether a text in memory is found, as `conditions` finds it in the database."""
    lowered = text.lower()

    def holds(term: str) -> bool:
        return term.lower() in lowered

    return (
        (not search.include or any(map(holds, search.include)))
        and all(map(holds, search.require))
        and not any(map(holds, search.exclude))
    )


def conditions(query: str, column: str, draft: Draft, *, within: str | None = None) -> list[str]:
    """What the query asks of a column (any SQL text expression); nothing if it is blank.

    Where `column` is dear to make, `within` is a cheap one that says all of it and more: only what
    is found there is looked for in `column`.
    """
    search = parse(query)

    def contains(term: str) -> str:
        if not storable(term):
            return FALSE
        pattern = draft.bind(f"%{literal(term)}%")
        found = draft.dialect.ilike(column, pattern)
        return found if within is None else f"({draft.dialect.ilike(within, pattern)} AND {found})"

    asked = []
    if search.include:
        asked.append(any_of([contains(term) for term in search.include]))
    if search.exclude:
        asked.append(all_of([f"NOT {contains(term)}" for term in search.exclude]))
    if search.require:
        asked.append(all_of([contains(term) for term in search.require]))
    return asked


def literal(text: str) -> str:
    """A LIKE pattern that matches exactly this text, with backslash as the escape character."""
    return _WILDCARD.sub(r"\\\1", text)

"""Whether a column that holds a JSON array of strings has some of them in it, seen in its text.

There a string is as JSON encodes it, behind a bracket or a comma. Its first quotation mark cannot
be one inside of another string, since that has a backslash before it, nor the last one of another:
what follows that would have to be `,"`, which only the string that is a comma is encoded as. So a
comma is looked for in another way. To take the arrays apart costs three times as much for a page.
"""

from collections.abc import Sequence

import msgspec

from projections.where import FALSE, TRUE, Draft, all_of, any_of

ONE_BY_ONE_MAX = 8
"""Strings that a statement names one by one; more are one parameter, whatever their number."""

COMMA = ","


def has_all(column: str, wanted: Sequence[str], draft: Draft) -> str:
    """The condition that all of these are in the array; none of them may have a NUL."""
    if len(wanted) <= ONE_BY_ONE_MAX:
        return _one_row_in_two(all_of([_has(column, one, draft) for one in wanted]))
    others = f"NOT EXISTS ({_each_but_comma(wanted, draft)} WHERE NOT {_has_each(column, draft)})"
    return all_of([others, _has_comma(column, draft)]) if COMMA in wanted else others


def has_any(column: str, wanted: Sequence[str], draft: Draft) -> str:
    """The condition that at least one of these is in the array; none of them may have a NUL."""
    if len(wanted) <= ONE_BY_ONE_MAX:
        return _one_row_in_two(any_of([_has(column, one, draft) for one in wanted]))
    others = f"EXISTS ({_each_but_comma(wanted, draft)} WHERE {_has_each(column, draft)})"
    return any_of([others, _has_comma(column, draft)]) if COMMA in wanted else others


def _one_row_in_two(condition: str) -> str:
    """The condition. Of a CASE Postgres assumes that every other row matches; of conditions on
    texts, that few do: it would read and sort the whole table for a page (52 ms instead of 5)."""
    simple = condition in (TRUE, FALSE)
    return condition if simple else f"CASE WHEN {condition} THEN {TRUE} ELSE {FALSE} END"


def _has(column: str, wanted: str, draft: Draft) -> str:
    if wanted == COMMA:
        return _has_comma(column, draft)
    behind = [draft.bind(before + _encoded(wanted)) for before in ("[", ",")]
    return any_of([draft.dialect.holds(column, placeholder) for placeholder in behind])


def _has_comma(column: str, draft: Draft) -> str:
    # Without those inside of strings, every quotation mark is one end of a string: whichever end
    # the first one of the three is, there is a comma that has both ends for itself.
    bare = rf"replace(replace({column}, '\\', '.'), '\"', '.')"
    return any_of([f"""{bare} = '[","]'""", draft.dialect.holds(bare, """'",","'""")])


def _each_but_comma(wanted: Sequence[str], draft: Draft) -> str:
    """The beginning of a subquery: a row of `wanted` for each of them, encoded."""
    encoded = [_encoded(one) for one in wanted if one != COMMA]
    rows = draft.dialect.strings(draft.bind(msgspec.json.encode(encoded).decode()))
    return f"SELECT 1 FROM {rows} AS wanted"


def _has_each(column: str, draft: Draft) -> str:
    behind = [f"'{before}' || wanted.value" for before in ("[", ",")]
    return any_of([draft.dialect.holds(column, text) for text in behind])


def _encoded(text: str) -> str:
    return msgspec.json.encode(text).decode()

"""What Postgres says differently from the other engine."""

from typing import Literal

import asyncpg


class PostgresDialect:
    """See `eventstore.database.Dialect`."""

    name: Literal["sqlite", "postgres"] = "postgres"
    place = "ctid"

    def placed(self, table: str, places: str) -> str:
        # Of IN it would make a join, and look for nothing by its place.
        return f"{table}.ctid = ANY(ARRAY({places}))"

    def holds(self, expression: str, placeholder: str) -> str:
        return f"strpos({expression}, {placeholder}) > 0"

    def in_list(self, expression: str, placeholder: str) -> str:
        wanted = f"SELECT json_array_elements_text({placeholder}::text::json)"
        return f"{expression} = ANY(ARRAY({wanted}))"

    def strings(self, placeholder: str) -> str:
        return f"(SELECT json_array_elements_text({placeholder}::text::json) AS value)"

    def spans(self, placeholder: str) -> str:
        # An array is read once, JSON again for each of its elements. Without OFFSET, which it does
        # not look through, Postgres would do the same with the array.
        braces = f"replace(replace({placeholder}::text, '[', '{{'), ']', '}}')"
        rows = f"(SELECT CAST({braces} AS BIGINT[]) AS of OFFSET 0) AS rows"
        columns = ", ".join(
            f"rows.of[n][{place}] AS {name}"
            for place, name in enumerate(("since", "until", "gains", "loses"), start=1)
        )
        return f"(SELECT {columns} FROM {rows}, generate_subscripts(rows.of, 1) AS n OFFSET 0)"

    def ilike(self, expression: str, placeholder: str) -> str:
        return f"{expression} ILIKE {placeholder} ESCAPE '\\'"

    def is_taken(self, error: Exception) -> bool:
        return isinstance(error, asyncpg.UniqueViolationError)

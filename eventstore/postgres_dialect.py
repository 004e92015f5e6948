"""What Postgres says differently from the other engine."""

from typing import Literal

import asyncpg


class PostgresDialect:
    """See `eventstore.database.Dialect`."""

    name: Literal["sqlite", "postgres"] = "postgres"

    def holds(self, expression: str, placeholder: str) -> str:
        return f"strpos({expression}, {placeholder}) > 0"

    def in_list(self, expression: str, placeholder: str) -> str:
        wanted = f"SELECT json_array_elements_text({placeholder}::text::json)"
        return f"{expression} = ANY(ARRAY({wanted}))"

    def strings(self, placeholder: str) -> str:
        return f"(SELECT json_array_elements_text({placeholder}::text::json) AS value)"

    def spans(self, placeholder: str) -> str:
        since, until = "CAST(value->>0 AS BIGINT)", "CAST(value->>1 AS BIGINT)"
        pairs = f"json_array_elements({placeholder}::text::json)"
        return f"(SELECT {since} AS since, {until} AS until FROM {pairs})"

    def ilike(self, expression: str, placeholder: str) -> str:
        return f"{expression} ILIKE {placeholder} ESCAPE '\\'"

    def is_taken(self, error: Exception) -> bool:
        return isinstance(error, asyncpg.UniqueViolationError)

"""Which block types, schemas and documents a request means. No other entity's filter looks at them.

The names on the wire are Prefect's; a filter of types has no operator, those of the others have.
"""

from typing import Literal, TypeAlias

from msgspec import Struct

from projections.criteria import Flag, Ids, Tags, Text, asked_of, condition
from projections.where import TRUE, Draft, Operator, combine


class BlockTypeFilter(Struct, frozen=True, forbid_unknown_fields=True):
    """Which types."""

    name: Text | None = None
    slug: Text | None = None


class BlockSchemaFilter(Struct, frozen=True, forbid_unknown_fields=True):
    """Which schemas."""

    block_type_id: Ids | None = None
    block_capabilities: Tags | None = None
    id: Ids | None = None
    version: Text | None = None
    operator: Operator = "and_"


class BlockDocumentFilter(Struct, frozen=True, forbid_unknown_fields=True):
    """Which documents; no anonymous ones unless it says otherwise."""

    id: Ids | None = None
    is_anonymous: Flag | None = Flag(eq_=False)
    block_type_id: Ids | None = None
    name: Text | None = None
    operator: Operator = "and_"


BlockDocumentSort: TypeAlias = Literal["NAME_DESC", "NAME_ASC", "BLOCK_TYPE_AND_NAME_ASC"]


def types_where(filter: BlockTypeFilter | None, draft: Draft) -> str:
    """The condition on rows of `block_types`."""
    return asked_of("block_types", filter, draft)


def schemas_where(filter: BlockSchemaFilter | None, draft: Draft) -> str:
    """The condition on rows of `block_schemas`."""
    if filter is None:
        return TRUE
    asked = (
        (filter.block_type_id, "block_type_id"),
        (filter.block_capabilities, "capabilities"),
        (filter.id, "id"),
        (filter.version, "version"),
    )
    return combine(
        filter.operator,
        [
            condition(criterion, f"block_schemas.{column}", draft)
            for criterion, column in asked
            if criterion is not None
        ],
    )


def documents_where(filter: BlockDocumentFilter | None, draft: Draft) -> str:
    """The condition on rows of `block_documents`."""
    return asked_of("block_documents", filter or BlockDocumentFilter(), draft)

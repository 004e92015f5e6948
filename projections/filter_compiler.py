"""Prefect's filters, compiled: which rows of one entity does a request mean?

What differs between entities is data: `filter_fields.ENTITIES` says how a filter's fields become
conditions on a table, `filter_relations.RELATIONS` which way leads from one table to the next.

A filter that is present but empty matches everything of its own entity, and, beside another entity,
asks that there be one: `task_runs: {}` selects flow runs that have a task run.
"""

from collections.abc import Sequence
from uuid import UUID

from msgspec.structs import replace

from eventstore.database import Dialect
from projections.criteria import Ids, Text, condition, one_of
from projections.filter_fields import ENTITIES
from projections.filter_relations import RELATIONS, Relation
from projections.filters import EntityTable, Filter, Filters, FlowRunFilter
from projections.where import FALSE, TRUE, Draft, Where, all_of, combine


def where(table: EntityTable, filters: Filters, dialect: Dialect, first: int = 1) -> Where:
    """The rows of `table` that the request means; placeholders are numbered from `first`."""
    draft = Draft(dialect)
    own = _filter_on(table, filters)
    conditions = [] if own is None else [_own_conditions(table, own, draft)]
    flow_run_ids = _nothing_but_ids(filters) if table == "task_runs" else None
    if flow_run_ids is not None:
        # Prefect then looks at the task runs alone, and lists those of a deleted flow run as well.
        conditions.append(one_of("task_runs.flow_run_id", flow_run_ids, draft))
    else:
        conditions += _related_conditions(RELATIONS[table], filters, draft)
    return draft.where(all_of(conditions), first)


def _filter_on(table: EntityTable, filters: Filters) -> Filter | None:
    if table == "work_queues" and filters.work_queues is None:
        return filters.work_pool_queues
    found: Filter | None = getattr(filters, ENTITIES[table].filter)
    return found


def _own_conditions(table: EntityTable, asked: Filter, draft: Draft) -> str:
    """What a filter asks of its own entity's row, and of nothing else that the request names."""
    special = ENTITIES[table].special
    conditions: list[str] = []
    for name in asked.__struct_fields__:
        criterion = getattr(asked, name)
        if criterion is None or name == "operator":
            continue
        if name in special:
            conditions += special[name](criterion, draft)
        else:
            conditions.append(condition(criterion, f"{table}.{name}", draft))
    return combine(asked.operator, conditions)


def _related_conditions(
    relations: tuple[Relation, ...], filters: Filters, draft: Draft
) -> list[str]:
    conditions = (_related(relation, filters, draft) for relation in relations)
    return [condition for condition in conditions if condition is not None]


def _related(relation: Relation, filters: Filters, draft: Draft) -> str | None:
    """That there is a related row as asked for; None if the request says nothing about it.

    The same question has two forms, and SQLite takes each by the word: EXISTS is asked per row and
    stops early, IN first lists all that match.
    """
    asked = _filter_on(relation.table, filters)
    further = _related_conditions(relation.further, filters, draft)
    if asked is None and not further:
        return None
    table, inner, outer = relation.table, relation.inner, relation.outer
    own = TRUE if asked is None else _own_conditions(table, asked, draft)
    matching = all_of([own, *further])
    if matching == FALSE:
        return FALSE
    if matching == TRUE and relation.always:
        return TRUE
    if _names_one(table, asked):
        # A scalar lets an index on (column, time) give the order as well, as IN could not.
        return f"{outer} = (SELECT {inner} FROM {table} WHERE {matching})"
    if matching == TRUE or not _lists_few(relation, asked):
        return f"EXISTS (SELECT 1 FROM {table} WHERE {all_of([f'{inner} = {outer}', matching])})"
    return f"{outer} IN (SELECT {inner} FROM {table} WHERE {matching})"


def _names_one(table: EntityTable, asked: Filter | None) -> bool:
    """Whether a filter can match no more than one row: it wants one value of a unique column."""
    return any(len(_wanted(asked, column)) == 1 for column in ENTITIES[table].unique)


def _lists_few(relation: Relation, asked: Filter | None) -> bool:
    """Whether listing the related rows that match is cheaper than asking for each row."""
    if relation.few_by is None:
        return True
    conjunction = asked is not None and asked.operator == "and_"
    return conjunction and any(getattr(asked, name) is not None for name in relation.few_by)


def _wanted(asked: Filter | None, column: str) -> Sequence[UUID | str]:
    """The values one of which a matching row must have in this column; empty if it need not."""
    if asked is None or asked.operator != "and_":
        return ()
    criterion: Ids | Text | None = getattr(asked, column, None)
    if criterion is None or criterion.operator != "and_":
        return ()
    return criterion.any_ or ()


def _nothing_but_ids(filters: Filters) -> list[UUID] | None:
    """The flow run ids, if they are all that the request asks of anything but task runs."""
    asked = filters.flow_runs
    ids = asked.id.any_ if asked is not None and asked.id is not None else None
    if not ids or asked is None:
        return None
    alone = replace(asked, operator="and_") == FlowRunFilter(id=Ids(any_=ids))
    others = (
        filters.flows,
        filters.deployments,
        filters.work_pools,
        filters.work_queues,
        filters.work_pool_queues,
    )
    return ids if alone and all(other is None for other in others) else None

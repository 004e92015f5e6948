"""What a projection is: a pure function from one event and its own rows to its own rows.

`apply` sees one event at a time and a `Rows` that holds every row it said (`reads`) it would look
at; it puts and deletes values there. Who called it — the append transaction, the runner of derived
projections, a rebuild, a verification — it cannot know: they all run this one function, fold whole
batches in memory and write each touched row once.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic, Literal, TypeVar

from msgspec import Struct

from eventstore.database import Reader, Row, Table, Transaction, Value
from eventstore.events import Event, Recorded

V = TypeVar("V")
Key = tuple[Value, ...]
Mode = Literal["inline", "derived"]


class Totals(Struct, Generic[V], frozen=True, eq=False):
    """Sums over the rows of a table, kept as an index is kept: by whoever writes those rows.

    A row of totals exists while at least one row counts towards it. Sums are of whole numbers, so
    no order of rows and no boundary between batches shows in them.
    """

    table: Table
    """Its key, then one column per sum, all BIGINT; the first sum is the number of rows."""
    columns: tuple[str, ...]
    """What of a row decides on its part in the sums."""
    of: Callable[[V], Row | None]
    """The same of a value; None if it has no part."""
    parts: Callable[[Row], Iterable[tuple[Key, Sequence[int]]]]
    """What one row adds, under which keys; `Row` holds `columns`."""


class Model(Struct, Generic[V], frozen=True, eq=False):
    """A table of a read model, and how a value becomes one of its rows and comes back.

    `V` is the type the projection works with: an entity, or the plain row. A model is one constant
    of the module that owns the table, and is compared by identity.
    """

    table: Table
    render: Callable[[V], Row]
    parse: Callable[[Row], V]
    remembered: bool = False
    """Keep the newest values in memory: they are an entity that commands load."""
    totals: Totals[V] | None = None


def rows_of(table: Table) -> Model[Row]:
    """A model whose values are its plain rows."""
    return Model(table, render=_same, parse=_same)


def _same(row: Row) -> Row:
    return row


class Projection(Struct, frozen=True, kw_only=True):
    """A named read model. `inline` ones are folded in the append transaction."""

    name: str
    version: int
    """Raise it when `apply` or a table changes meaning: the read model is then rebuilt."""
    mode: Mode
    models: tuple[Model[Any], ...]
    handles: frozenset[type[Event]]
    apply: "Callable[[Rows, Recorded[Any]], None]"
    reads: Callable[[Recorded[Any]], Iterable[tuple[Model[Any], Key]]]
    """The rows that `apply` will `get` for this event; of models whose newest values are
    remembered, those that it will put or delete as well."""
    own: Model[Any] | None = None
    """The model, if any, that has a row for each stream, under the id in the stream's name: before
    its first event there is none, as is known without asking."""
    cascades: frozenset[type[Event]] = frozenset()
    """Events at which `apply` cascades: rows go that `reads` does not name."""


class Rows:
    """The rows that a batch of events touches, folded in memory, written once.

    A value of None means: there is no such row.
    """

    def __init__(self) -> None:
        self._values: dict[tuple[Model[Any], Key], Any] = {}
        self._dirty: dict[Model[Any], dict[Key, None]] = {}
        self._cascades: list[tuple[Model[Any], str, Value]] = []
        self._stored: dict[tuple[Model[Any], Key], Any] = {}
        """Of models with totals: the values that count in the totals so far."""
        self._absent: set[tuple[Model[Any], Key]] = set()
        """Of what was taken in: where the tables have no row."""
        self._before: dict[tuple[Model[Any], Key], Row] = {}
        """Of what was taken in: the rows that the tables have."""

    def get(self, model: Model[V], *key: Value) -> V | None:
        """The value at `key`; only rows that the projection's `reads` named can be asked for."""
        value: V | None = self._values[model, key]
        return value

    def put(self, model: Model[V], key: Key, value: V) -> None:
        """Insert or replace the row at `key`."""
        assert not model.remembered or (model, key) in self._values, "see Projection.reads"
        self._values[model, key] = value
        self._dirty.setdefault(model, {})[key] = None

    def delete(self, model: Model[Any], *key: Value) -> None:
        """Remove the row at `key`, if there is one."""
        assert not model.remembered or (model, key) in self._values, "see Projection.reads"
        self._values[model, key] = None
        self._dirty.setdefault(model, {})[key] = None

    def cascade(
        self,
        model: Model[V],
        sql: str,
        value: Value,
        doomed: Callable[[V], bool],
    ) -> None:
        """Remove every row that goes with something else that went.

        `sql` is the DELETE for rows in the database, `value` is bound to its `$1`; `doomed` says
        the same of the values held here. Cascades run in the order of their calls, before any row
        of this batch is written.
        """
        for key, held in self.held(model):
            if doomed(held):
                self._values[model, key] = None
                # The row may be new in this batch: then there is nothing to delete, and no harm.
                self._dirty.setdefault(model, {})[key] = None
        self._cascades.append((model, sql, value))

    def held(self, model: Model[V]) -> list[tuple[Key, V]]:
        """Every value of a model that is held here and exists."""
        return [
            (key, value)
            for (other, key), value in self._values.items()
            if other is model and value is not None
        ]

    def missing(self, wanted: Iterable[tuple[Model[Any], Key]]) -> dict[Model[Any], list[Key]]:
        """Of the wanted rows those that are not here yet, by model."""
        absent: dict[Model[Any], dict[Key, None]] = {}
        for model, key in wanted:
            if (model, key) not in self._values:
                absent.setdefault(model, {})[key] = None
        return {model: list(keys) for model, keys in absent.items()}

    def hold(self, model: Model[V], key: Key, value: V | None, row: Row | None = None) -> None:
        """Take in a value as the database (or a cache of it) has it; `row` is its row, if known."""
        if (model, key) not in self._values:
            if value is None:
                self._absent.add((model, key))
            elif row is not None:
                self._before[model, key] = row
        self._values.setdefault((model, key), value)
        if model.totals is not None:
            self._stored.setdefault((model, key), value)

    def take_over(self, before: "Rows", wanted: Iterable[tuple[Model[Any], Key]]) -> None:
        """Hold the wanted rows that an earlier batch holds, as it left them."""
        left = before._values
        for model, key in wanted:
            if (model, key) in left:
                self.hold(model, key, left[model, key])

    def touched(self) -> Iterable[tuple[Model[Any], Key, Any]]:
        """What was put or deleted (value None), with its last value."""
        for model, keys in self._dirty.items():
            for key in keys:
                yield model, key, self._values[model, key]

    async def load(self, reader: Reader, wanted: Iterable[tuple[Model[Any], Key]]) -> None:
        """Fetch the wanted rows that are not here yet, one query per table."""
        for model, keys in self.missing(wanted).items():
            at = [list(model.table.columns).index(name) for name in model.table.key]
            found = await reader.fetch_keys(model.table, keys)
            for row in found:
                self.hold(model, tuple(row[i] for i in at), model.parse(row), row)
            for key in keys:
                self.hold(model, key, None)

    def carried(self, most: int) -> "Rows":
        """What is held here, clean, as the start of the next batch; all of it or, if more, none."""
        rows = Rows()
        if len(self._values) <= most:
            rows._values, rows._stored = self._values, self._stored
        return rows

    @property
    def cascaded(self) -> bool:
        """Whether rows were removed that may not be held here."""
        return bool(self._cascades)

    async def write(self, tx: Transaction) -> dict[tuple[Model[Any], Key], Row]:
        """Bring the tables to what is held here, and return the rows written.

        Cascades go first: a row put after its removal survives.
        """
        written: dict[tuple[Model[Any], Key], Row] = {}
        changes = _Changes()
        for model, sql, value in self._cascades:
            if model.totals is None:
                await tx.execute(sql, value)
            else:
                await self._remove_counted(tx, model, model.totals, sql, value, changes)
        for model, keys in self._dirty.items():
            gone: list[Key] = []
            rows: list[Row] = []
            new: list[Row] = []
            before: list[Row | None] = []
            for key in keys:
                value = self._values[model, key]
                if value is None:
                    gone.append(key)
                else:
                    row = model.render(value)
                    written[model, key] = row
                    if (model, key) in self._absent:
                        new.append(row)
                    else:
                        rows.append(row)
                        before.append(self._before.get((model, key)))
            if gone:
                await tx.delete(model.table, gone)
            if rows or new:
                await tx.upsert(model.table, rows, new, before)
            if model.totals is not None:
                for key in keys:
                    value = self._values[model, key]
                    changes.replace(model.totals, self._stored[model, key], value)
                    self._stored[model, key] = value
        await changes.write(tx)
        return written

    async def _remove_counted(
        self,
        tx: Transaction,
        model: Model[V],
        totals: Totals[V],
        sql: str,
        value: Value,
        changes: "_Changes",
    ) -> None:
        """A cascade whose rows count: each takes its part with it."""
        named = (*model.table.key, *totals.columns)
        width = len(model.table.key)
        for row in await tx.fetch(f"{sql} RETURNING {', '.join(named)}", value):
            changes.add(totals, tuple(row[width:]), -1)
            if (model, key := tuple(row[:width])) in self._stored:
                self._stored[model, key] = None


class _Changes:
    """What a batch changes in the totals."""

    def __init__(self) -> None:
        self._sums: dict[Totals[Any], dict[Key, list[int]]] = {}

    def replace(self, totals: Totals[V], before: V | None, after: V | None) -> None:
        """A row took the place of another; None: there was or is none."""
        was = None if before is None else totals.of(before)
        now = None if after is None else totals.of(after)
        if was == now:
            return
        if was is not None:
            self.add(totals, was, -1)
        if now is not None:
            self.add(totals, now, 1)

    def add(self, totals: Totals[Any], row: Row, times: int) -> None:
        """Count a row (1), or no longer (-1)."""
        sums = self._sums.setdefault(totals, {})
        for key, numbers in totals.parts(row):
            held = sums.get(key)
            if held is None:
                sums[key] = [times * number for number in numbers]
            else:
                for i, number in enumerate(numbers):
                    held[i] += times * number

    async def write(self, tx: Transaction) -> None:
        """Add the changes to the tables."""
        for totals, sums in self._sums.items():
            table, width = totals.table, len(totals.table.key)
            changed = {key: changes for key, changes in sums.items() if any(changes)}
            fewer = [key for key, changes in changed.items() if changes[0] < 0]
            gone: list[Key] = []
            for row in await tx.fetch_keys(table, fewer) if fewer else ():
                key = tuple(row[:width])
                if row[width] + changed[key][0] == 0:
                    gone.append(key)
                    del changed[key]
            if gone:
                await tx.delete(table, gone)
            if changed:
                await tx.add(table, [(*key, *changes) for key, changes in changed.items()])


def fold(projections: Sequence[Projection], rows: Rows, recorded: Recorded[Any]) -> None:
    """Apply one event to every projection that handles its type."""
    kind = type(recorded.event)
    for projection in projections:
        if kind in projection.handles:
            projection.apply(rows, recorded)

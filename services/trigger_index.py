"""Which triggers an emission is for: found by its name, before anything else of it is looked at."""

import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from fnmatch import translate
from typing import Any

import msgspec
from msgspec import Struct

from eventstore.codec import to_microseconds
from eventstore.events import Recorded
from orchestration.automation_firings import depth_of
from orchestration.automations import Automation
from orchestration.emission_names import name_of
from orchestration.identifiers import utc
from orchestration.own_emissions import EMITTING, emission_of
from orchestration.trigger_fold import Seen, Watch, watches
from orchestration.triggers import covers, is_plain, names_of_interest

NAMES_MAX = 10_000
"""Names of emissions for which it is remembered who may want them."""
LOG_LINES = "prefect.log.write"
"""Nobody is triggered by what a run prints."""
DEPTH_MAX = 2
"""So many firings after the first one are made by what tells of firings: an automation may look
after the failures of another one, and one more after those of that. Two that match everything would
else make each other fire without end, each time more often."""
_OWN = ("prefect.automation.triggered", "prefect.automation.action.")
"""What an automation itself brings about begins like this: it would go on for ever."""


class _Shown(Struct, frozen=True):
    occurred: datetime
    event: str
    resource: dict[str, str]
    related: tuple[dict[str, str], ...] = ()


_read = msgspec.json.Decoder(_Shown).decode


class Index:
    """The triggers of the automations that are enabled."""

    def __init__(self) -> None:
        self.automations: dict[str, Automation] = {}
        self.watched: dict[str, Watch] = {}
        """By the trigger's id."""
        self._plain: dict[str, list[Watch]] = {}
        self._patterns: list[tuple[re.Pattern[str], Watch]] = []
        self._interested: dict[str, Sequence[Watch]] = {}

    def replace(self, automations: Iterable[Automation]) -> None:
        """Watch for these automations and no others."""
        self.automations, self.watched, self._plain, self._patterns = {}, {}, {}, []
        for automation in automations:
            self.put(automation)

    def put(self, automation: Automation) -> None:
        """Watch for one more, or for what became of one."""
        self.remove(automation.id)
        self.automations[automation.id] = automation
        for watch in watches(automation.id, automation.trigger):
            self._add(watch)

    def remove(self, id_: str) -> None:
        """Watch for one less."""
        self._interested.clear()
        automation = self.automations.pop(id_, None)
        if automation is None:
            return
        for watch in watches(id_, automation.trigger):
            self.watched.pop(watch.trigger.id, None)
            for name in filter(is_plain, names_of_interest(watch.trigger)):
                left = [one for one in self._plain.get(name, ()) if one.automation != id_]
                self._plain[name] = left
                if not left:
                    del self._plain[name]
        self._patterns = [one for one in self._patterns if one[1].automation != id_]

    def _add(self, watch: Watch) -> None:
        self.watched[watch.trigger.id] = watch
        for name in dict.fromkeys(names_of_interest(watch.trigger)):
            if is_plain(name):
                self._plain.setdefault(name, []).append(watch)
            else:
                # "!x" wants anything but x: whoever wants that looks at every name.
                wanted = "*" if name.startswith("!") else name
                self._patterns.append((re.compile(translate(wanted)), watch))

    def interested(self, name: str) -> Sequence[Watch]:
        """Who may want emissions of this name, in the order of automations and triggers."""
        found = self._interested.get(name)
        if found is None:
            wanted = {watch.trigger.id: watch for watch in self._plain.get(name, ())}
            for pattern, watch in self._patterns:
                if pattern.match(name):
                    wanted[watch.trigger.id] = watch
            # The same order for whoever has found them in another one.
            found = sorted(wanted.values(), key=lambda one: (one.automation, one.place))
            if len(self._interested) >= NAMES_MAX:
                self._interested.clear()
            self._interested[name] = found if name != LOG_LINES else ()
        return self._interested[name]

    def find(self, recorded: Recorded[Any]) -> tuple[Seen, Sequence[Watch]] | None:
        """The emission that an event gives rise to, and which triggers are about it, if any are."""
        if not self.watched or not isinstance(recorded.event, EMITTING):
            return None
        name = name_of(recorded)
        if name is not None and not self.interested(name):
            return None
        if depth_of(recorded.event) > DEPTH_MAX:
            return None
        document = emission_of(recorded)
        if document is None:
            return None
        shown = _read(document)
        interested = self.interested(shown.event)
        if shown.event.startswith(_OWN):
            own = shown.resource["prefect.resource.id"]
            interested = [
                one for one in interested if own != f"prefect.automation.{one.automation}"
            ]
        found = [one for one in interested if covers(one.trigger, shown.resource, shown.related)]
        if not found:
            return None
        seen = Seen(
            position=recorded.position,
            at=to_microseconds(recorded.recorded_at),
            occurred=to_microseconds(utc(shown.occurred)),
            name=shown.event,
            resource=shown.resource,
            related=shown.related,
        )
        return seen, found

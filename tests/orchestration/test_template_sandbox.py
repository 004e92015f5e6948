"""Templates of users: what they can do, and that nothing in them takes for ever."""

import pytest

from orchestration.template_sandbox import (
    ADDRESS,
    OUTPUT_CHARACTERS_MAX,
    CannotRender,
    names_in,
    render,
)
from orchestration.template_values import Labels, emission

RUN = "01a20559-7a26-7323-98b8-cfca0ba6c6e1"
EVENTS = f"http://h/events?resource=prefect.flow-run.{RUN}"
CONTEXT = {
    "event": emission(
        {
            "id": RUN,
            "event": "a.b",
            "occurred": "2026-01-02T03:04:05Z",
            "resource": {
                "prefect.resource.id": f"prefect.flow-run.{RUN}",
                "prefect.resource.name": "n",
            },
            "related": [{"prefect.resource.id": "r", "prefect.resource.role": "tag"}],
            "payload": {"a": {"b": [1, 2]}, "occurred": "2026-01-02", "big": "x" * 100_000},
        }
    ),
    "labels": Labels({"prefect.resource.id": "L", "a": "1"}),
    ADDRESS: "http://h/",
}


LONG = "{% set a = [1, 2, 3, 4, 5, 6, 7, 8] %}" + "{% set a = a + a %}" * 12
FOR_EACH = "{% for i in range(90) %}{% for j in range(90) %}…{% endfor %}{% endfor %}"


def doubled(begin: str, step: str, end: str) -> str:
    """A template whose value is twice as large after each of forty steps."""
    steps = (step.replace("{0}", f"v{n}").replace("{1}", f"v{n + 1}") for n in range(1, 41))
    return begin + "".join(steps) + end.replace("{0}", "v41")


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ event.resource.id }}", f"prefect.flow-run.{RUN}"),
        ("{{ event.resource['prefect.resource.name'] }}", "n"),
        ("{{ event.occurred }}", "2026-01-02 03:04:05+00:00"),
        ("{{ event.occurred.isoformat() }}", "2026-01-02T03:04:05+00:00"),
        ("{{ event.payload.a.b[1] }} {{ event.payload.occurred }}", "2 2026-01-02"),
        ("{{ event.nothing.more }}|", "|"),
        ("{{ labels.prefect.resource.id }}{{ labels['a'] }}{{ labels.z }}", "L1"),
        ("{% for r in event.related %}{{ loop.index }}{{ r.role }}{% endfor %}", "1tag"),
        ("{{ event.payload.a | tojson }}", '{"b":[1,2]}'),
        ("{{ event.resource | ui_url }}", f"http://h/runs/flow-run/{RUN}"),
        ("{{ event.resource | ui_resource_events_url }}", EVENTS),
        (f"{{{{ 'see flow-run/{RUN}' | flow_run_id }}}}", RUN),
        ("{{ 1 + 2 }} {{ 7 % 3 }} {{ 'a,b'.split(',')[0] | upper }}", "3 1 A"),
        ("{% set x = 2 %}{{ x * 3 }}", "6"),
        ("{{ event.payload.a.b | map('string') | join('-') }}", "1-2"),
        ("{% set x = event.event ~ 1 %}{{ x ~ event.nothing ~ '!' }}", "a.b1!"),
        ("{% set a, b = [event.event, {'c': event.event}] %}{{ a }}{{ b }}", "a.b{'c': 'a.b'}"),
        (
            "{{ 2.456 | round(1) }} {{ event.event[2:] }} {{ event.event in ('a.b', labels) }}",
            "2.5 b True",
        ),
        ("{{ [1, 2, 3] | select('in', event.payload.a.b) | list }}", "[1, 2]"),
    ],
)
def test_what_templates_can_do(template: str, text: str) -> None:
    assert render(template, CONTEXT) == text


@pytest.mark.parametrize(
    "template",
    [
        "{{ 'a' * 1000000000 }}",
        "{{ 10 ** 1000000 }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ '{:1000000000d}'.format(1) }}",
        "{{ 'a'.center(1000000000) }}",
        "{% set a = event.payload.big %}" + "{% set a = a + a %}" * 60,
        "{% set a = event.payload.big %}" + "{% set a = a ~ a %}" * 60,
        "{{ 1.5 | round(1000000000, 'floor') }}",
        "{{ event.payload.big" + " ~ event.payload.big" * 2_500 + " | length }}",
        doubled("{% with v1 = ['x'] %}", "{% with {1} = {0} ~ {0} %}", "{{ {0} | length }}")
        + "{% endwith %}" * 41,
        doubled("{% set v1 = ['x'] %}", "{% set {1} = [{0}, {0}] %}", "{{ {0} }}"),
        doubled("{% set v1 = 'x' %}", "{% set {1} = {'a': {0}, 'b': {0}}.values() %}", "{{ {0} }}"),
        LONG + FOR_EACH.replace("…", "{{ 99 in a }}"),
        LONG + FOR_EACH.replace("…", "{{ a | max }}"),
        LONG + FOR_EACH.replace("…", "{{ a | select('eq', 9) | first }}"),
        LONG + FOR_EACH.replace("…", "{% if a[1:] %}{% endif %}"),
        LONG + "{{ a | reject('in', a) | list }}",
        "{{ event.payload.big | join(event.payload.big) }}",
        "{{ event.payload.big | replace('', event.payload.big) }}",
        "{% for a in range(100) %}{% for b in range(1, 101) %}{% if a > b %}{% endif %}"
        "{% endfor %}{% endfor %}" * 3,
        "{% for a in event.payload.big %}{% for b in event.payload.big %}{% endfor %}{% endfor %}",
        "{% for a in range(101) %}{% endfor %}",
        "{{ event.payload.big }}" * (OUTPUT_CHARACTERS_MAX // 100_000 + 1),
        "{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}",
        "{{ event.update({'a': 1}) }}",
        "{{ event.resource.pop('x') }}",
        "{{ labels.as_dict() }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{% include 'x' %}",
        "{{ x | unheard_of }}",
        "{{ 1 / 0 }}",
        "{{ x",
    ],
)
def test_what_templates_cannot_do(template: str) -> None:
    with pytest.raises(CannotRender):
        render(template, CONTEXT)


def test_names_are_found_without_rendering() -> None:
    assert names_in(["{{ flow_run.name }}{% set x = 1 %}{{ x }}", "{{ broken"]) == {"flow_run", "x"}

"""What the parameters that an automation gives to its runs come to: as in Prefect."""

from typing import Any

import pytest

from orchestration.automation_parameters import CannotFillIn, faults, rendered
from orchestration.template_sandbox import CannotRender, render
from orchestration.template_values import Thing

KIND = "__prefect_kind"
CONTEXT = {"event": Thing("prefect.event", {"name": "it", "n": [1]})}
VARIABLES = {"words": "{{ event.name }}!", "thing": {"a": 1}}


def made(parameters: dict[str, Any]) -> dict[str, Any]:
    return rendered(parameters, lambda template: render(template, CONTEXT), VARIABLES)


def jinja(template: Any) -> dict[str, Any]:
    return {KIND: "jinja", "template": template}


def variable(name: Any) -> dict[str, Any]:
    return {KIND: "workspace_variable", "variable_name": name}


@pytest.mark.parametrize(
    ("given", "comes_to"),
    [
        ("{{ event.name }}", "it"),
        ("{{ event.n }}", [1]),
        ("{{ event }}", {"name": "it", "n": [1]}),
        ("{{ none }}", None),
        ("{{ 'a' }}{{ 1 }}", "a1"),
        (["{{ 1 }}", {"a": "{{ 1 }}"}], [1, {"a": 1}]),
        (jinja("{{ 1 }}"), "1"),
        (jinja("{{ undefined.at.all }}"), ""),
        # In a list within a list texts are texts.
        ([["{{ 1 }}", {"a": "{{ 1 }}"}]], [["{{ 1 }}", {"a": "{{ 1 }}"}]]),
        ([["{{ "]], [["{{ "]]),
        ([[jinja("{{ 1 }}")]], [["1"]]),
        # A comment alone is no template, and stays.
        ("{# 1 #}", "{# 1 #}"),
        (jinja("{# 1 #}"), "{# 1 #}"),
        (jinja("{# 1 #}{{ 2 }}"), "2"),
        # The template may have to be made itself.
        (jinja(variable("words")), "it!"),
        (jinja({KIND: "json", "value": '"{{ 1 }}"'}), "1"),
        (variable(jinja("{{ 'thing' }}")), {"a": 1}),
        # JSON that is a list already is what it is; an object is made.
        ({KIND: "json", "value": [jinja("{{ 1 }}")]}, [jinja("{{ 1 }}")]),
        ({KIND: "json", "value": jinja("[{{ 1 }}]")}, [1]),
        ({KIND: "none", "value": [jinja("{{ 1 }}")]}, ["1"]),
    ],
)
def test_what_parameters_come_to(given: Any, comes_to: Any) -> None:
    assert faults({"p": given}) == []
    assert made({"p": given}) == {"p": comes_to}


@pytest.mark.parametrize(
    "given",
    [
        "{{ undefined }}",
        "{{ undefined() }}",
        "{{ event.name | nofilter }}",
        "{{ 1 / 0 }}",
        "{{- 1 }}x{{ undefined + 1 }}",
        "{{ range(500) | list }}",
        {KIND: "json", "value": jinja("{{ event.name }}")},
        variable("nothing"),
        jinja(variable("thing")),
    ],
)
def test_what_only_an_attempt_can_tell_fails_then(given: Any) -> None:
    assert faults({"p": given}) == []
    with pytest.raises((CannotFillIn, CannotRender)):
        made({"p": given})


@pytest.mark.parametrize(
    "given",
    [
        "{{ ",
        "{% if %}",
        "{{- 1 -}}",  # It would be `{{ - 1 - | tojson }}`.
        {KIND: "jinja"},
        jinja(1),
        jinja(variable(jinja("{{ "))),
        variable(jinja("{{ ")),
        {KIND: "none"},
        {KIND: "none", "value": {KIND: "none"}},
        {KIND: "json", "value": "[1"},
        {"a": {"b": "{{ "}},
    ],
)
def test_what_can_never_be_made_is_a_fault_from_the_start(given: Any) -> None:
    assert len(faults({"p": given})) == 1


@pytest.mark.parametrize("value", [5, None, "text", [1], {KIND: "json", "value": "[1]"}])
def test_parameters_that_come_to_no_object_cannot_be_made(value: Any) -> None:
    with pytest.raises(CannotFillIn):
        made({KIND: "none", "value": value})


def test_parameters_as_a_whole_may_have_to_be_made() -> None:
    assert made({KIND: "json", "value": '{"a": 1}'}) == {"a": 1}
    assert made({KIND: "json"}) == {}

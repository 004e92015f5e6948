"""Whether a template can be used."""

import pytest

from orchestration import user_templates
from orchestration.user_templates import Fault, fault


@pytest.mark.parametrize(
    "template",
    [
        "",
        "a flow run ended: {{ flow_run.name }}",
        "{% for a in b %}{% for c in a %}{{ c|upper }}{% endfor %}{% endfor %}",
        "{% if a %}{% for b in a %}x{% endfor %}{% else %}{% for c in d %}y{% endfor %}{% endif %}",
    ],
)
def test_templates_within_the_bounds_can_be_used(template: str) -> None:
    assert fault(template) is None


@pytest.mark.parametrize(
    ("template", "line"), [("{{ x ", 1), ("one\ntwo {{ y|}}", 2), ("\n\n{% nonsense %}", 3)]
)
def test_what_is_wrong_is_said_with_its_line(template: str, line: int) -> None:
    found = fault(template)
    assert found is not None
    assert found.line == line
    assert found.message


def test_loops_are_counted_and_may_be_nested_twice() -> None:
    loop = "{% for a in b %}x{% endfor %}"
    assert fault(loop * 10) is None
    assert fault(loop * 11) == Fault(0, "It has 11 loops; a template may have 10.")
    deep = "{% for a in b %}" * 3 + "{% endfor %}" * 3
    assert fault(deep) == Fault(0, "It has loops 3 deep; a template may nest them 2 deep.")


def test_none_takes_long_or_ends_the_process() -> None:
    for template in (
        "x" * (user_templates.CHARACTERS_MAX + 1),
        "{{ " + "(" * 20_000 + ")" * 20_000 + " }}",
        "{% if a %}" * 4_000,
        "{{ " + "-" * 40_000 + "1 }}",
    ):
        assert fault(template) is not None

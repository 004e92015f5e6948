"""Which values of a block are secret, and what is shown in their place."""

from typing import Any

import pytest

from orchestration.block_secrets import OBSCURED, lost, put_in, take_apart, with_present

DATA: dict[str, Any] = {
    "user": "me",
    "password": "pw",
    "headers": {"token": "t", "deep": {"er": 1}, "none": None},
    "nested": {"secret": "s", "open": "o"},
    "empty": {},
    "list": [{"password": "in a list"}],
    "doors": [{"name": "front", "locks": [[{"code": "1"}]]}, {"name": "back", "code": None}],
    "rooms": {"hall": {"door": {"code": "2"}, "size": 3}},
}


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ((), {}),
        (("password",), {"password": OBSCURED}),
        (("nested.secret",), {"nested": {"secret": OBSCURED, "open": "o"}}),
        (
            ("headers.*",),
            {"headers": {"token": OBSCURED, "deep": {"er": OBSCURED}, "none": OBSCURED}},
        ),
        (
            ("headers.*.er",),
            {"headers": {"token": OBSCURED, "deep": {"er": OBSCURED}, "none": OBSCURED}},
        ),
        (("headers.deep",), {"headers": {"token": "t", "deep": {"er": OBSCURED}, "none": None}}),
        (("headers.none",), {}),
        (("empty.*",), {"empty": OBSCURED}),
        (("list",), {"list": OBSCURED}),
        # As clients name what is in lists of models, and in models under free names.
        (("doors.locks.code",), {"doors": OBSCURED}),
        (("doors.code",), {"doors": OBSCURED}),
        (("doors.locks.*",), {"doors": OBSCURED}),
        (("doors.key", "list.name"), {}),
        (("rooms.door.code",), {"rooms": {"hall": {"door": {"code": OBSCURED}, "size": 3}}}),
        (("rooms.door.*",), {"rooms": {"hall": {"door": {"code": OBSCURED}, "size": 3}}}),
        (("no.such.field", "user.name"), {}),
        (("*",), None),
    ],
)
def test_what_is_secret_is_obscured_and_can_be_put_back(
    fields: tuple[str, ...], shown: dict[str, Any] | None
) -> None:
    taken = take_apart(DATA, fields)
    if shown is not None:
        assert taken.shown == DATA | shown
    else:
        assert set(_leaves(taken.shown)) == {OBSCURED}
    assert put_in(taken.shown, iter(taken.secrets)) == DATA


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for inner in value.values() for leaf in _leaves(inner)]
    return [value]


def test_a_document_is_not_changed_by_taking_it_apart() -> None:
    before = {"a": {"b": "c"}}
    taken = take_apart(before, ("a.b",))
    assert before == {"a": {"b": "c"}}
    put_in(taken.shown, iter(taken.secrets))
    assert taken.shown == {"a": {"b": OBSCURED}}


def test_asterisks_sent_back_stand_for_the_present_secret() -> None:
    present = take_apart(DATA, ("password", "headers.*")).secrets
    sent = {
        "password": OBSCURED,
        "headers": {"token": "new", "deep": {"er": OBSCURED}},
        "user": OBSCURED,
    }
    assert with_present(sent, present) == {
        "password": "pw",
        "headers": {"token": "new", "deep": {"er": 1}},
        "user": OBSCURED,
    }


def test_a_secret_of_which_only_asterisks_are_left_is_lost() -> None:
    assert lost(take_apart({"a": OBSCURED, "b": "real"}, ("a", "b"))) == ("a",)
    assert lost(take_apart({"a": OBSCURED, "b": "real"}, ("b",))) is None

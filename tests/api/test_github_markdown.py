"""Markdown as people write it for Prefect's pages: tasks, and addresses that are written out."""

import pytest

from api.ui.artifact_shown import markdown


def _link(address: str, text: str | None = None) -> str:
    return f'<a href="{address}" rel="noopener noreferrer nofollow">{text or address}</a>'


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("- [ ] load", '<li class="task">☐ load</li>'),
        ("- [x] **load**", '<li class="task">☑ <strong>load</strong></li>'),
        ("1. [X] load", '<li class="task">☑ load</li>'),
        ("- [ ]", "<li>[ ]</li>"),
        ("- a [x] b", "<li>a [x] b</li>"),
        ("- [x](https://a.example)", f"<li>{_link('https://a.example', 'x')}</li>"),
        ("[x] no list", "<p>[x] no list</p>"),
    ],
)
def test_a_task_of_a_list_has_a_box(text: str, html: str) -> None:
    assert html in markdown(text)


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("See https://a.example/b_c_d.", f"See {_link('https://a.example/b_c_d')}."),
        ("(https://a.example/b)", f"({_link('https://a.example/b')})"),
        ("https://a.example/b_(c)", _link("https://a.example/b_(c)")),
        ("https://a.example/?a=1&b=2", _link("https://a.example/?a=1&amp;b=2")),
        (
            "http://a.example and https://b.example!",
            f"{_link('http://a.example')} and {_link('https://b.example')}!",
        ),
        ("**https://a.example**", f"<strong>{_link('https://a.example')}</strong>"),
        ("[https://a.example](https://b.example)", _link("https://b.example", "https://a.example")),
        ("`https://a.example`", "<code>https://a.example</code>"),
        ("javascript://a.example", "<p>javascript://a.example</p>"),
        ("xhttps://a.example", "<p>xhttps://a.example</p>"),
    ],
)
def test_an_address_that_is_written_out_is_a_link(text: str, html: str) -> None:
    assert html in markdown(text)


@pytest.mark.parametrize("end", [".", ")", ".a", ")a", "(", "_"])
def test_a_long_address_is_read_once(end: str) -> None:
    """Whatever is quadratic in its length takes minutes, and the test with it."""
    assert "<a " in markdown(f"https://a.example/{end * 45_000}")


@pytest.mark.parametrize("text", ["https://...", "https://", "https://[", "https://[a", "http://)"])
def test_what_is_no_address_stays_a_text(text: str) -> None:
    assert markdown(text) == f"<p>{text}</p>\n"


def test_an_address_writes_no_markup() -> None:
    html = markdown('https://a.example/"onclick="alert(1) https://a.example/<script>')
    assert "<script" not in html
    assert html.count("<a ") == 2
    assert 'href="https://a.example/"' in html

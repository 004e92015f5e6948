"""What GitHub's Markdown has beyond tables and strikethrough, and people write as Prefect's pages
show it: boxes of tasks, and addresses that are links because they are written out."""

import re
from collections.abc import Iterator, Sequence

from markdown_it import MarkdownIt
from markdown_it.rules_core import StateCore
from markdown_it.token import Token

_BOX = re.compile(r"\[([ xX])\]\s+")
_ADDRESS = re.compile(r"\bhttps?://\w[^\s<>\"`]*")
_BEHIND = "?!.,:;*_~']"
"""What ends the sentence that an address stands in, and not the address."""


def extend(made: MarkdownIt) -> None:
    """Let a parser of CommonMark read these as well. What is in code stays as it is."""
    made.core.ruler.push("github", _read)


def _read(state: StateCore) -> None:
    tokens = state.tokens
    for at, token in enumerate(tokens):
        if token.type != "inline" or not token.children:
            continue
        if at > 1 and tokens[at - 2].type == "list_item_open":
            _box(tokens[at - 2], token.children[0])
        token.children = list(_linked(token.children, state.md))


def _box(item: Token, first: Token) -> None:
    found = _BOX.match(first.content) if first.type == "text" else None
    if found is not None:
        sign = "☐" if found[1] == " " else "☑"
        first.content = f"{sign} {first.content[found.end() :]}"
        item.attrJoin("class", "task")


def _linked(tokens: Sequence[Token], made: MarkdownIt) -> Iterator[Token]:
    links = 0
    for token in tokens:
        links += token.nesting if token.type in ("link_open", "link_close") else 0
        if token.type != "text" or links:
            yield token
            continue
        done = 0
        for found in _ADDRESS.finditer(token.content):
            address = _without_what_follows(found[0])
            target = made.normalizeLink(address)
            if not made.validateLink(target):
                continue
            yield token.copy(content=token.content[done : found.start()])
            yield Token("link_open", "a", 1, attrs={"href": target})
            yield token.copy(content=address)
            yield Token("link_close", "a", -1)
            done = found.start() + len(address)
        yield token.copy(content=token.content[done:])


def _without_what_follows(address: str) -> str:
    """`https://a.example/b` of `https://a.example/b).`: an address in brackets ends before them,
    unless it has opened them itself."""
    end, surplus = len(address), address.count(")") - address.count("(")
    while address[end - 1] in _BEHIND or (address[end - 1] == ")" and surplus > 0):
        surplus -= address[end - 1] == ")"
        end -= 1
    return address[:end]

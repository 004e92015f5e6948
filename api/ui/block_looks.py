"""How block types look: signs instead of logos, which would be fetched from elsewhere."""

import html
import re

from orchestration.block_types import BlockType

HUES = 6
"""Colours of the signs, in `blocks.css`."""


def initials(name: str) -> str:
    """Two letters that stand for a type."""
    words = [word for word in name.replace("-", " ").split() if word[0].isalnum()]
    letters = "".join(word[0] for word in words[:2]) if len(words) > 1 else name.strip()[:2]
    return letters.upper() or "?"


def hue(slug: str) -> int:
    """Which colour stands for a type: the same one always."""
    return sum(slug.encode()) % HUES


def own_picture(type: BlockType) -> str | None:
    """A logo that is in the type itself."""
    found = type.logo_url
    return found if found is not None and found.startswith("data:image/") else None


def unescaped(text: str) -> str:
    """Descriptions of types are kept as HTML shows them."""
    return html.unescape(text)


_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")


def plain(text: str) -> str:
    """A description in a line, without the signs of Markdown."""
    return " ".join(_LINK.sub(r"\1", unescaped(text)).replace("**", "").replace("`", "").split())

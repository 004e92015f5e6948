"""Blocks to be registered by the command line."""

from prefect.blocks.core import Block
from pydantic import SecretStr


class Window(Block):
    """To be looked through."""

    _block_type_slug = "e2e-window"

    pane: str = "glass"
    alarm: SecretStr | None = None

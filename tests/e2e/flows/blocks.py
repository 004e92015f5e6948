"""Saves and loads blocks of every kind, alone and in a flow; prints what came back as JSON."""

import json
from typing import Any, ClassVar

from prefect import flow, task
from prefect.blocks.core import Block
from prefect.blocks.fields import SecretDict
from prefect.blocks.system import Secret
from prefect.blocks.webhook import Webhook
from pydantic import BaseModel, SecretStr


class Address(BaseModel):
    """A part of a block that is no block."""

    host: str
    port: int = 443


class Spare(BaseModel):
    """Another one, with a secret."""

    where: str
    key: SecretStr


class Lock(Block):
    """What is held by another block."""

    _block_type_slug = "e2e-lock"

    code: SecretStr
    turns: int = 1


class Hinge(Block):
    """Another one."""

    _block_type_slug = "e2e-hinge"

    oiled: bool = False


class Door(Block):
    """A block with secrets, a model, and other blocks in it."""

    _block_type_slug = "e2e-door"
    _block_schema_capabilities: ClassVar = ["open"]

    name: str
    key: SecretStr
    headers: SecretDict
    address: Address
    lock: Lock
    fitting: Lock | Hinge
    spares: list[Spare]
    lent: dict[str, Spare]


@task
def turn(door: Door) -> str:
    """Use a loaded block."""
    return door.lock.code.get_secret_value()


@flow
def through() -> str:
    """Load a block where it is needed."""
    return turn(Door.load("front"))


def _told(door: Door) -> dict[str, Any]:
    fitting = door.fitting
    return {
        "name": door.name,
        "key": door.key.get_secret_value(),
        "headers": door.headers.get_secret_value(),
        "address": door.address.model_dump(),
        "code": door.lock.code.get_secret_value(),
        "turns": door.lock.turns,
        "spares": [one.key.get_secret_value() for one in door.spares],
        "lent": {who: one.key.get_secret_value() for who, one in door.lent.items()},
        "fitting": fitting.oiled if isinstance(fitting, Hinge) else None,
    }


def main() -> None:
    """Save, load, save again; nested blocks saved by themselves and in line."""
    lock = Lock(code=SecretStr("needle-code"), turns=3)
    lock.save("inner")
    door = Door(
        name="front",
        key=SecretStr("needle-key"),
        headers=SecretDict({"token": "needle-token", "deep": {"er": 1}}),
        address=Address(host="example.org"),
        lock=lock,
        fitting=Hinge(oiled=True),
        spares=[Spare(where="mat", key=SecretStr("needle-spare"))],
        lent={"neighbour": Spare(where="left", key=SecretStr("needle-lent"))},
    )
    door.save("front")
    said: dict[str, Any] = {"first": _told(Door.load("front"))}
    said["generic"] = type(Block.load("e2e-door/front")).__name__

    loaded = Door.load("front")
    loaded.name = "changed"
    loaded.key = SecretStr("needle-new")
    loaded.save("front", overwrite=True)
    said["second"] = _told(Door.load("front"))

    Lock(code=SecretStr("needle-other")).save("inner", overwrite=True)
    said["flow"] = through()

    Secret(value="needle-secret").save("word")
    said["secret"] = Secret.load("word").get()
    Secret(value={"user": "me", "word": "needle-object"}).save("object")
    said["object"] = Secret.load("object").get()
    Webhook(url=SecretStr("http://needle-url"), headers=SecretDict({"a": "b"})).save("hook")
    said["url"] = Webhook.load("hook").url.get_secret_value()

    Lock.delete("inner")
    try:
        Lock.load("inner")
    except ValueError as error:
        said["gone"] = str(error)
    said["types"] = [Door.get_block_type_slug(), Door._to_block_type().name]
    print(json.dumps(said))  # noqa: T201


if __name__ == "__main__":
    main()

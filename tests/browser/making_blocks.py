"""Block types, their schemas and blocks, made as clients make them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.browser.making_runs import Runs

ACCOUNT = {
    "title": "Account",
    "type": "object",
    "block_type_slug": "account",
    "required": ["user", "password"],
    "properties": {
        "user": {"title": "User", "type": "string"},
        "password": {
            "title": "Password",
            "type": "string",
            "format": "password",
            "writeOnly": True,
        },
        "token": {
            "title": "Token",
            "anyOf": [
                {"type": "string", "format": "password", "writeOnly": True},
                {"type": "null"},
            ],
            "default": None,
        },
        "retries": {"title": "Retries", "type": "integer", "default": 3, "minimum": 0},
    },
    "secret_fields": ["password", "token"],
    "block_schema_references": {},
}
KEYRING = {
    "title": "Keyring",
    "type": "object",
    "block_type_slug": "keyring",
    "properties": {"path": {"title": "Path", "type": "string"}},
    "secret_fields": [],
    "block_schema_references": {},
}


def bucket(*nested: tuple[str, str, dict[str, Any]]) -> dict[str, Any]:
    """A schema whose credentials are one of these: title, checksum and fields of each."""
    return {
        "title": "Bucket",
        "type": "object",
        "block_type_slug": "bucket",
        "required": ["bucket_name", "credentials"],
        "properties": {
            "bucket_name": {"title": "Bucket name", "type": "string", "description": "Not a URL."},
            "credentials": {
                "title": "Credentials",
                "description": "Who may look into it.",
                "anyOf": [{"$ref": f"#/definitions/{title}"} for title, _, _ in nested],
            },
            "where": {
                "title": "Where",
                "anyOf": [
                    {"type": "string", "title": "Name"},
                    {"type": "integer", "title": "Number"},
                ],
            },
            "labels": {
                "title": "Labels",
                "type": "object",
                "additionalProperties": {"type": "string"},
            },
        },
        "definitions": {title: fields for title, _, fields in nested},
        "secret_fields": ["credentials.password", "credentials.token"],
        "block_schema_references": {
            "credentials": [
                {"block_type_slug": fields["block_type_slug"], "block_schema_checksum": checksum}
                for _, checksum, fields in nested
            ]
        },
    }


@dataclass(frozen=True)
class Blocks(Runs):
    """Registers types and saves blocks on a server; `url` is the base of its API."""

    def type(self, name: str, **more: Any) -> dict[str, Any]:
        """A block type."""
        body = {"name": name, "slug": name.lower().replace(" ", "-"), **more}
        made: dict[str, Any] = self.post("/block_types/", body)
        return made

    def schema(
        self, type_id: str, fields: dict[str, Any], capabilities: Sequence[str] = ()
    ) -> dict[str, Any]:
        """A schema of a type."""
        body = {"block_type_id": type_id, "fields": fields, "capabilities": list(capabilities)}
        made: dict[str, Any] = self.post("/block_schemas/", {**body, "version": "1.0"})
        return made

    def save(self, schema: dict[str, Any], name: str, data: dict[str, Any]) -> str:
        """The id of a block."""
        body = {
            "name": name,
            "data": data,
            "block_schema_id": schema["id"],
            "block_type_id": schema["block_type_id"],
        }
        return str(self.post("/block_documents/", body)["id"])

    def registered(self) -> dict[str, dict[str, Any]]:
        """Schemas of the types account, keyring and bucket, by slug; buckets hold one of both."""
        about = {
            "description": "Who may look into **buckets**, at `example`.",
            "code_example": '```python\nAccount.load("BLOCK_NAME")\n```',
            "logo_url": "https://elsewhere.example/logo.png",
            "documentation_url": "https://elsewhere.example/docs",
        }
        account = self.schema(self.type("Account", **about)["id"], ACCOUNT, ["log-in"])
        keyring = self.schema(self.type("Keyring")["id"], KEYRING)
        nested = (
            ("Account", str(account["checksum"]), ACCOUNT),
            ("Keyring", str(keyring["checksum"]), KEYRING),
        )
        made = self.schema(self.type("Bucket")["id"], bucket(*nested), ["read-path", "write-path"])
        return {"account": account, "keyring": keyring, "bucket": made}

"""Blocks through the front door: what is known from the start, secrets, and how keys are looked
after. What Prefect answers as well is in `tests/contract/scenarios/block_*.json`."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from eventstore.migrate import Target
from services.key_rotation import new_key
from services.known_blocks import known_blocks
from tests import serving
from tests.conftest import StartServer
from tests.serving import NO_CERTIFICATES, RunningServer

KNOWN = {one.slug for one in known_blocks()}
PROTECTED = {"local-file-system", "secret", "webhook"}
REGISTERING = {"PREFECT_SERVER_REGISTER_BLOCKS_ON_START": "true"}
NEEDLE = "needle-in-a-haystack"


def talk_to(url: str) -> httpx.Client:
    """A client of the API at this base URL."""
    return httpx.Client(base_url=url, timeout=30.0, verify=NO_CERTIFICATES)


def expect(response: httpx.Response, status: int) -> Any:
    """What was answered, with this status."""
    assert response.status_code == status, response.text
    return response.json()


def types(api: httpx.Client) -> dict[str, dict[str, Any]]:
    return {one["slug"]: one for one in expect(api.post("/block_types/filter"), 200)}


def wait_until_known(server: RunningServer, api: httpx.Client) -> None:
    """Follow the log until the last of the known blocks is in it; that is one transaction."""
    wanted = {"type": "block-schema.created", "from": "beginning", "wait": "20"}
    followed = api.get("/subscriptions/poll", params=wanted)
    assert followed.status_code == 200, followed.text + server.output()


@pytest.fixture
def made(start_server: StartServer) -> RunningServer:
    return start_server()


def save(api: httpx.Client, name: str = "front", **data: Any) -> str:
    """A document of a type of its own, with a secret field `password`; its id."""
    of_type = expect(api.post("/block_types/", json={"name": name, "slug": name}), 201)["id"]
    fields = {"title": name, "secret_fields": ["password"]}
    body: dict[str, Any] = {"block_type_id": of_type, "fields": fields}
    schema = expect(api.post("/block_schemas/", json=body), 201)["id"]
    body = {"name": name, "data": data, "block_type_id": of_type, "block_schema_id": schema}
    return str(expect(api.post("/block_documents/", json=body), 201)["id"])


def test_a_server_knows_the_blocks_of_prefect_and_its_packages(
    start_server: StartServer,
) -> None:
    server = start_server(settings=REGISTERING)
    with talk_to(server.url) as api:
        wait_until_known(server, api)
        found = types(api)
        assert found.keys() == KNOWN
        assert {slug for slug, one in found.items() if one["is_protected"]} == PROTECTED
        schemas = expect(api.post("/block_schemas/filter"), 200)
        assert {one["block_type"]["slug"] for one in schemas} == KNOWN
        secret = found["secret"]["id"]
        assert api.delete(f"/block_types/{secret}").status_code == 403
        (schema,) = [one for one in schemas if one["block_type_id"] == secret]
        assert api.delete(f"/block_schemas/{schema['id']}").status_code == 403
        assert "write-path" in expect(api.get("/block_capabilities/"), 200)


def test_what_is_known_is_registered_once_however_often_and_by_how_many(
    start_server: StartServer,
) -> None:
    first = start_server(settings=REGISTERING, workers=2)
    with talk_to(first.url) as api:
        wait_until_known(first, api)
        registered = api.get("/block_types/slug/secret").json()
    first.stop()
    second = start_server(settings=REGISTERING)
    with talk_to(second.url) as api:
        assert expect(api.post("/block_types/install_system_block_types"), 200) is None
        assert len(types(api)) == len(KNOWN)
        assert api.get("/block_types/slug/secret").json() == registered


def test_the_protected_blocks_can_be_asked_for(made: RunningServer) -> None:
    with talk_to(made.url) as api:
        assert types(api) == {}
        assert expect(api.post("/block_types/install_system_block_types"), 200) is None
        assert types(api).keys() == PROTECTED


def test_a_nested_known_schema_names_what_it_holds(start_server: StartServer) -> None:
    server = start_server(settings=REGISTERING)
    with talk_to(server.url) as api:
        wait_until_known(server, api)
        of_type = types(api)["s3-bucket"]["id"]
        body = {"block_schemas": {"block_type_id": {"any_": [of_type]}}}
        (schema,) = expect(api.post("/block_schemas/filter", json=body), 200)
        held = schema["fields"]["block_schema_references"]["credentials"]
        assert {one["block_type_slug"] for one in held} == {"aws-credentials", "minio-credentials"}
        assert {"AwsCredentials", "MinIOCredentials"} <= schema["fields"]["definitions"].keys()


def test_an_object_in_a_secret_field_is_hidden_with_all_that_is_in_it(made: RunningServer) -> None:
    with talk_to(made.url) as api:
        id_ = save(api, password={"user": "me", "word": NEEDLE}, list=[1])
        shown = api.get(f"/block_documents/{id_}").json()["data"]
        assert shown == {"password": {"user": "********", "word": "********"}, "list": [1]}
        told = api.get(f"/block_documents/{id_}", params={"include_secrets": "true"}).json()["data"]
        assert told == {"password": {"user": "me", "word": NEEDLE}, "list": [1]}


def test_what_is_told_of_a_block_tells_no_secret(made: RunningServer) -> None:
    with talk_to(made.url) as api:
        save(api, user="somebody-seen", password=NEEDLE)
        told = api.get(
            "/subscriptions/poll", params={"category": "block-document", "from": "beginning"}
        ).text
        listed = api.post("/block_documents/filter").text
        assert ("somebody-seen" in told, "somebody-seen" in listed) == (True, True)
        assert NEEDLE not in told + listed
    assert NEEDLE not in made.output()


def test_a_server_whose_key_does_not_fit_says_so_and_what_to_do(
    start_server: StartServer, target: Target, tmp_path: Path
) -> None:
    key = {"PREFECT_SERVER_ENCRYPTION_KEY": new_key().text}
    first = start_server(settings=key)
    with talk_to(first.url) as api:
        id_ = save(api, password=NEEDLE)
    first.stop()
    second = start_server(settings={"PLUPERFECT_ENCRYPTION_KEY": new_key().text})
    with talk_to(second.url) as api:
        assert api.get(f"/block_documents/{id_}").json()["data"] == {"password": "********"}
        refused = api.get(f"/block_documents/{id_}", params={"include_secrets": "true"})
        assert refused.status_code == 500
        assert "need the master key" in refused.json()["exception_message"]
    second.stop()
    assert second.output().count("need the master key") == 2, "when it starts, and when it is asked"
    done = serving.run_cli(target, tmp_path, "server", "encryption", "status", settings=key)
    assert (done.returncode, "1 secrets" in done.stdout) == (0, True), done.stdout + done.stderr
    done = serving.run_cli(target, tmp_path, "server", "encryption", "status")
    assert (done.returncode, "MISSING" in done.stdout) == (1, True), done.stdout + done.stderr


def test_what_is_no_key_keeps_a_server_from_starting(target: Target, tmp_path: Path) -> None:
    settings = {"PLUPERFECT_ENCRYPTION_KEY": "hunter2"}
    start = ("server", "start", "--port", str(serving.free_port()))
    done = serving.run_cli(target, tmp_path, *start, settings=settings)
    assert done.returncode == 1
    assert "PLUPERFECT_ENCRYPTION_KEY is no key" in done.stderr
    assert "hunter2" not in done.stderr + done.stdout


def test_the_key_file_is_changed_while_a_server_runs(
    start_server: StartServer, target: Target, tmp_path: Path
) -> None:
    server = start_server()
    home = server.log.parent
    with talk_to(server.url) as api:
        id_ = save(api, password=NEEDLE)
        done = serving.run_cli(target, home, "server", "encryption", "rotate", "--yes")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "Wrapped 1 keys anew" in done.stdout
        told = api.get(f"/block_documents/{id_}", params={"include_secrets": "true"}).json()
        assert told["data"] == {"password": NEEDLE}
        save(api, "back", password=NEEDLE)
    done = serving.run_cli(target, home, "server", "encryption", "status", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"secrets": 2' in done.stdout


def test_secrets_that_are_lost_are_given_up_on_demand(
    start_server: StartServer, target: Target, tmp_path: Path
) -> None:
    server = start_server(settings={"PLUPERFECT_ENCRYPTION_KEY": new_key().text})
    with talk_to(server.url) as api:
        id_ = save(api, user="me", password=NEEDLE)
    server.stop()
    done = serving.run_cli(target, tmp_path, "server", "encryption", "discard", "--yes")
    assert (done.returncode, done.stdout) == (0, "Deleted 1 secrets.\n"), done.stderr
    server = start_server()
    with talk_to(server.url) as api:
        secrets = {"include_secrets": "true"}
        refused = api.get(f"/block_documents/{id_}", params=secrets)
        assert (refused.status_code, "Save the block again" in refused.text) == (409, True)
        patched = api.patch(f"/block_documents/{id_}", json={"data": {"password": "anew"}})
        assert patched.status_code == 204
        told = api.get(f"/block_documents/{id_}", params=secrets).json()["data"]
        assert told == {"user": "me", "password": "anew"}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"fields": {"block_schema_references": {"a": 1}}}, "block_schema_checksum"),
        (
            {
                "fields": {
                    "block_schema_references": {
                        "a": {"block_schema_checksum": "x", "block_type_slug": "front"}
                    }
                }
            },
            "neither registered nor among the definitions",
        ),
    ],
)
def test_a_schema_that_cannot_be_is_refused_with_a_reason(
    made: RunningServer, body: dict[str, Any], words: str
) -> None:
    with talk_to(made.url) as api:
        save(api)
        of_type = api.get("/block_types/slug/front").json()["id"]
        refused = api.post("/block_schemas/", json={"block_type_id": of_type, **body})
        assert (refused.status_code, words in refused.text) == (422, True), refused.text


def test_schemas_that_hold_themselves_are_refused(made: RunningServer) -> None:
    with talk_to(made.url) as api:
        save(api)
        of_type = api.get("/block_types/slug/front").json()["id"]
        inner: dict[str, Any] = {
            "block_type_slug": "front",
            "properties": {"a": {"$ref": "#/definitions/A"}, "n": {"title": "n"}},
            "block_schema_references": {
                "a": {"block_schema_checksum": "never", "block_type_slug": "front"}
            },
        }
        fields = {**inner, "definitions": {"A": inner}}
        refused = api.post("/block_schemas/", json={"block_type_id": of_type, "fields": fields})
        assert (refused.status_code, "levels deep" in refused.text) == (422, True), refused.text

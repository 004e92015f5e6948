"""A server with a certificate of its own speaks TLS to every kind of client, and says what is wrong
with files that it cannot use before it does anything else."""

import ssl
from pathlib import Path

import httpx
import pytest
from msgspec import json
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from eventstore.migrate import Target
from tests import serving
from tests.certificates import Files, openssl, self_signed
from tests.conftest import StartServer
from tests.e2e import prefect_client
from tests.e2e.prefect_client import PrefectClient

SOON = 20.0
"""Seconds; a busy machine is slow."""


def _settings(files: Files) -> dict[str, str]:
    return {
        "PLUPERFECT_API_SSL_CERTFILE": str(files.certificate),
        "PLUPERFECT_API_SSL_KEYFILE": str(files.key),
    }


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """The certificate of the server."""
    return self_signed(tmp_path_factory.mktemp("tls"), "own")


@pytest.fixture
def target(sqlite_target: Target) -> Target:
    """How a server is spoken to has nothing to do with its database; one engine is enough."""
    return sqlite_target


@pytest.fixture
def sqlite_target(tmp_path: Path, sqlite_template: Path) -> Target:
    path = tmp_path / "pluperfect.db"
    path.write_bytes(sqlite_template.read_bytes())
    return Target(path=path)


@pytest.mark.parametrize("workers", [1, 2])
def test_clients_that_trust_the_certificate_are_served_and_others_turn_away(
    start_server: StartServer, files: Files, workers: int
) -> None:
    server = start_server(workers=workers, settings=_settings(files))
    trusting = ssl.create_default_context(cafile=files.certificate)

    assert f"PREFECT_API_URL=https://127.0.0.1:{server.port}/api" in server.output()
    assert f"Pages     https://127.0.0.1:{server.port}" in server.output()
    assert httpx.get(f"{server.url}/health", verify=trusting, timeout=SOON).json() is True
    with pytest.raises(httpx.ConnectError, match="certificate verify failed"):
        httpx.get(f"{server.url}/health", timeout=SOON)
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://127.0.0.1:{server.port}/api/health", timeout=SOON)


@pytest.mark.parametrize("kind", ["rsa:2048", "ec:secp384r1"])
def test_other_kinds_of_keys_can_be_used(
    start_server: StartServer, tmp_path: Path, kind: str
) -> None:
    files = self_signed(tmp_path, "another", kind)
    server = start_server(settings=_settings(files))
    trusting = ssl.create_default_context(cafile=files.certificate)

    assert httpx.get(f"{server.url}/health", verify=trusting, timeout=SOON).json() is True


def test_websockets_work_over_tls(start_server: StartServer, files: Files) -> None:
    server = start_server(settings=_settings(files))
    trusting = ssl.create_default_context(cafile=files.certificate)

    with connect(
        f"wss://127.0.0.1:{server.port}/api/events/out",
        ssl=trusting,
        subprotocols=[Subprotocol("prefect")],
        open_timeout=SOON,
    ) as socket:
        socket.send(json.encode({"type": "auth", "token": None}).decode())
        assert json.decode(socket.recv(SOON)) == {"type": "auth_success"}


def test_links_of_a_server_with_a_certificate_are_https(
    start_server: StartServer, files: Files
) -> None:
    server = start_server(settings=_settings(files))
    trusting = ssl.create_default_context(cafile=files.certificate)
    with httpx.Client(base_url=server.url, verify=trusting, timeout=SOON) as client:
        for name in ("one", "two"):
            flow = client.post("/flows/", json={"name": name}).json()
            client.post("/flow_runs/", json={"flow_id": flow["id"], "state": {"type": "PENDING"}})

        page = client.post("/events/filter", json={"limit": 1}).json()

        assert page["next_page"].startswith(f"{server.url}/events/filter/next?")
        following = client.get(page["next_page"]).json()
        assert following["events"][0]["id"] != page["events"][0]["id"]


def test_status_asks_a_server_with_a_certificate(start_server: StartServer, files: Files) -> None:
    server = start_server(settings=_settings(files))

    here = serving.run_cli(server.target, server.log.parent, "server", "status")
    elsewhere = serving.run_cli(
        server.target,
        server.log.parent.parent / "another-home",
        *("server", "status"),
        settings=_settings(files) | {"PLUPERFECT_API_PORT": str(server.port)},
    )

    assert here.stdout == f"The server at {server.url} is available.\n"
    assert elsewhere.stdout == here.stdout
    assert here.returncode == elsewhere.returncode == 0


def test_the_real_client_runs_a_flow_over_tls(
    start_server: StartServer, files: Files, tmp_path: Path
) -> None:
    server = start_server(settings=_settings(files))
    client = PrefectClient(
        prefect_client.environment(),
        tmp_path / "client",
        server.url,
        {"PREFECT_API_SSL_CERT_FILE": str(files.certificate)},
    )

    client.flow("small.py")

    trusting = ssl.create_default_context(cafile=files.certificate)
    runs = httpx.post(f"{server.url}/flow_runs/filter", json={}, verify=trusting).json()
    assert [run["state_type"] for run in runs] == ["COMPLETED"]


def _refused(target: Target, home: Path, certificate: Path | None, key: Path | None) -> str:
    options = [] if certificate is None else ["--ssl-certfile", str(certificate)]
    options += [] if key is None else ["--ssl-keyfile", str(key)]
    port = str(serving.free_port())
    refused = serving.run_cli(target, home, "server", "start", "--port", port, *options)
    assert refused.returncode == 1
    assert refused.stdout == ""
    assert refused.stderr.count("\n") == 1, refused.stderr
    return refused.stderr.removeprefix("Error: ").rstrip()


def test_files_that_cannot_be_used_are_one_line(
    target: Target, tmp_path: Path, files: Files
) -> None:
    other = self_signed(tmp_path, "other")
    strange = self_signed(tmp_path, "strange", "ec:secp521r1")
    nowhere = tmp_path / "nowhere.pem"
    encrypted = tmp_path / "encrypted.key"
    openssl(
        *("pkcs8", "-topk8", "-in", str(files.key), "-passout", "pass:sesame"),
        *("-out", str(encrypted)),
    )
    broken = tmp_path / "broken.crt"
    broken.write_text("-----BEGIN CERTIFICATE-----\nnothing\n-----END CERTIFICATE-----\n")
    together = "A certificate and its key belong together; "
    expected: list[tuple[Path | None, Path | None, str]] = [
        (files.certificate, None, f"{together}--ssl-keyfile is missing."),
        (None, files.key, f"{together}--ssl-certfile is missing."),
        (
            nowhere,
            files.key,
            f"The certificate {nowhere} cannot be read: No such file or directory.",
        ),
        (
            files.certificate,
            nowhere,
            f"The key {nowhere} cannot be read: No such file or directory.",
        ),
        (tmp_path, files.key, f"The certificate {tmp_path} cannot be read: Is a directory."),
        (files.key, files.key, f"The certificate {files.key} is not a PEM file."),
        (
            files.certificate,
            files.certificate,
            f"The key {files.certificate} is not a private key in PEM.",
        ),
        (
            files.certificate,
            other.key,
            f"The key {other.key} is not the one of the certificate {files.certificate}.",
        ),
        (
            strange.certificate,
            strange.key,
            f"The key {strange.key} is of an elliptic curve that cannot be used; "
            "P-256 and P-384 can.",
        ),
        (
            files.certificate,
            encrypted,
            f"The key {encrypted} is encrypted, which cannot be read; "
            f"`openssl pkey -in {encrypted} -out plain.pem` writes one without a password.",
        ),
    ]
    home = tmp_path / "home"
    for certificate, key, sentence in expected:
        assert _refused(target, home, certificate, key) == sentence
    assert _refused(target, home, broken, files.key).startswith(
        f"The certificate {broken} and the key {files.key} cannot be used: "
    )

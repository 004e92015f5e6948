"""A Redis that speaks TLS, wants a certificate, or knows its users: with what it wants it is used,
without it there is a warning that names the effect, and everything else goes on."""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import pytest

from api.addresses import redis_url
from api.settings import Settings
from eventstore import redis as redis_module
from eventstore.migrate import Target
from eventstore.redis import BadRedisUrl
from tests.certificates import Files, self_signed
from tests.conformance.test_fanout import Processes, heard_by, until
from tests.conformance.toys import adding
from tests.redis_serving import RunningRedis

pytestmark = pytest.mark.parametrize("backend", ["sqlite"])

CHUNK_BYTES = 65_536
USER, PASSWORD = "pluperfect", "s3cret:/@"
AWAY = (
    "Nothing is lost: until it is back, events of other processes are found by asking the database"
)


class TlsInFront:
    """TLS before a Redis that was built without: what comes is passed on as it is."""

    def __init__(self, port: int, files: Files, clients: Path | None = None) -> None:
        """`clients`: only those whose certificate this file vouches for."""
        self.port = 0
        self._upstream = port
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.load_cert_chain(files.certificate, files.key)
        if clients is not None:
            self._context.load_verify_locations(clients)
            self._context.verify_mode = ssl.CERT_REQUIRED
        self._server: asyncio.Server | None = None
        self._talks: set[asyncio.Task[None]] = set()

    def url(self, **options: Path | str) -> str:
        more = "&".join(f"{name}={quote(str(value))}" for name, value in options.items())
        return f"rediss://127.0.0.1:{self.port}/0?{more}"

    async def start(self) -> None:
        self._server = await asyncio.start_server(
            self._met, "127.0.0.1", self.port, ssl=self._context
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._talks:
            task.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)

    async def _met(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._talks.add(task)
        upstream, to_upstream = await asyncio.open_connection("127.0.0.1", self._upstream)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(_pass_on(reader, to_upstream))
                both.create_task(_pass_on(upstream, writer))
        finally:
            self._talks.discard(task)
            to_upstream.close()
            writer.close()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while chunk := await reader.read(CHUNK_BYTES):
            writer.write(chunk)
            await writer.drain()
    writer.close()


@pytest.fixture
def running_redis(tmp_path: Path) -> Iterator[RunningRedis]:
    server = RunningRedis(tmp_path)
    yield server
    server.kill()


@pytest.fixture
async def processes(target: Target) -> AsyncIterator[Processes]:
    processes = Processes(target)
    yield processes
    await processes.close()


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """Of the Redis."""
    return self_signed(tmp_path_factory.mktemp("redis"), "own")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """Of who connects to it."""
    return self_signed(tmp_path_factory.mktemp("redis"), "client")


async def _is_used(processes: Processes, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit is heard of, though nobody looks."""
    with monkeypatch.context() as patch:
        patch.setattr(redis_module, "LOOK_SECONDS", 3_600.0)
        one, telling = await processes.another(url)
        other, hearing = await processes.another(url)
        await until(lambda: telling.connected and hearing.connected)
        await one.submit(adding("n:used", 0, 1))
        await heard_by(other, 1)


async def _is_done_without(processes: Processes, url: str, caplog: pytest.LogCaptureFixture) -> str:
    """A commit is found; the warnings, one a process, that say so."""
    with caplog.at_level(logging.WARNING, "eventstore.redis"):
        one, telling = await processes.another(url)
        other, hearing = await processes.another(url)
        await until(lambda: len(caplog.messages) == 2)
    for message in caplog.messages:
        assert AWAY in message
    await one.submit(adding("n:without", 0, 1))
    await heard_by(other, 1)
    await other.submit(adding("n:without", 1, 1))
    await heard_by(one, 2)
    assert not telling.connected
    assert not hearing.connected
    assert len(caplog.messages) == 2
    return caplog.text


async def test_tls_with_a_certificate_that_is_trusted(
    running_redis: RunningRedis,
    processes: Processes,
    own: Files,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    running_redis.start()
    tls = TlsInFront(running_redis.port, own)
    await tls.start()
    await _is_used(processes, tls.url(ssl_ca_certs=own.certificate), monkeypatch)
    await processes.close()
    await tls.close()


async def test_tls_by_the_settings_that_a_prefect_server_has(
    running_redis: RunningRedis,
    processes: Processes,
    own: Files,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    running_redis.start("--requirepass", PASSWORD)
    tls = TlsInFront(running_redis.port, own)
    await tls.start()
    monkeypatch.setenv("SSL_CERT_FILE", str(own.certificate))
    named = Settings(
        redis_host="127.0.0.1", redis_port=tls.port, redis_ssl=True, redis_password=PASSWORD
    )
    url = redis_url(named)
    assert url is not None
    assert url.startswith("rediss://")
    await _is_used(processes, url, monkeypatch)
    await processes.close()
    await tls.close()


async def test_redis_that_comes_back_with_another_password_is_said_to_want_it_once(
    running_redis: RunningRedis, processes: Processes, caplog: pytest.LogCaptureFixture
) -> None:
    running_redis.start()
    _, notifier = await processes.another(running_redis.url)
    await until(lambda: notifier.connected)
    with caplog.at_level(logging.WARNING, "eventstore.redis"):
        running_redis.kill()
        await until(lambda: len(caplog.messages) == 1)
        running_redis.start("--requirepass", PASSWORD)
        await until(lambda: len(caplog.messages) == 2)
        assert "uthentication" in caplog.messages[1]
        assert AWAY in caplog.messages[1]
        running_redis.kill()
        running_redis.start()
        await until(lambda: notifier.connected)
    assert "Redis is back" in caplog.messages[2]
    assert len(caplog.messages) == 3


async def test_a_client_certificate_that_is_wanted(
    running_redis: RunningRedis,
    processes: Processes,
    own: Files,
    client: Files,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    running_redis.start()
    tls = TlsInFront(running_redis.port, own, client.certificate)
    await tls.start()
    url = tls.url(
        ssl_ca_certs=own.certificate, ssl_certfile=client.certificate, ssl_keyfile=client.key
    )
    await _is_used(processes, url, monkeypatch)
    await processes.close()
    await tls.close()


@pytest.mark.parametrize("wrong", ["authority", "none", "other", "missing"])
async def test_without_the_right_certificate_the_database_is_asked(
    running_redis: RunningRedis,
    processes: Processes,
    own: Files,
    client: Files,
    wrong: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    running_redis.start()
    tls = TlsInFront(running_redis.port, own, client.certificate)
    await tls.start()
    mine = {"ssl_certfile": client.certificate, "ssl_keyfile": client.key}
    other = {"ssl_certfile": own.certificate, "ssl_keyfile": own.key}
    options: dict[str, Path] = {
        "authority": {"ssl_ca_certs": client.certificate, **mine},
        "none": {"ssl_ca_certs": own.certificate},
        "other": {"ssl_ca_certs": own.certificate, **other},
        "missing": {"ssl_ca_certs": tmp_path / "nowhere.pem", **mine},
    }[wrong]
    said = await _is_done_without(processes, tls.url(**options), caplog)
    if wrong == "authority":
        assert "certificate verify failed" in said
    await processes.close()
    await tls.close()


async def test_a_user_of_ones_own(
    running_redis: RunningRedis, processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    running_redis.start(*_users())
    url = redis_url(_signing_in(running_redis, PASSWORD))
    assert url is not None
    await _is_used(processes, url, monkeypatch)


@pytest.mark.parametrize("password", ["wrong", None])
async def test_without_the_right_password_the_database_is_asked(
    running_redis: RunningRedis,
    processes: Processes,
    password: str | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    running_redis.start(*_users())
    url = redis_url(_signing_in(running_redis, password))
    assert url is not None
    said = await _is_done_without(processes, url, caplog)
    assert "invalid username-password pair" in said or "Authentication required" in said


def _users() -> tuple[str, ...]:
    """One who may do what is needed here, and nobody else."""
    own = ("--user", USER, "on", f">{PASSWORD}", "~{pluperfect:*", "+@all")
    return (*own, "--user", "default", "off")


def _signing_in(running_redis: RunningRedis, password: str | None) -> Settings:
    return Settings(
        redis_host="127.0.0.1",
        redis_port=running_redis.port,
        redis_username=USER,
        redis_password=password,
    )


async def test_an_option_that_there_is_not_is_said_at_once(
    running_redis: RunningRedis, processes: Processes
) -> None:
    url = f"rediss://:{quote(PASSWORD, safe='')}@127.0.0.1:{running_redis.port}/0?ssl_ca_cert=x"
    with pytest.raises(BadRedisUrl, match="'ssl_ca_cert'") as said:
        await processes.another(url)
    assert quote(PASSWORD, safe="") not in str(said.value)

"""What `deploy/` has to bring servers to other machines fits the code, as far as that can be told
without an engine for containers."""

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from api.addresses import database_location, redis_url
from api.configuration import load
from api.database_url import PostgresLocation
from api.routes import areas
from api.settings import Settings
from tests import commands, nginx_serving
from tests.conftest import StartServer

REPOSITORY = Path(__file__).parents[1]
DEPLOY = REPOSITORY / "deploy"
NGINX_KEEPS_IDLE_SECONDS = 60

Json = dict[str, Any]


def _compose() -> Json:
    read: Json = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    return read


def _manifests() -> list[Json]:
    text = (DEPLOY / "kubernetes" / "pluperfect.yaml").read_text(encoding="utf-8")
    return list(yaml.safe_load_all(text))


def _manifest(kind: str, name: str = "pluperfect") -> Json:
    (found,) = (
        manifest
        for manifest in _manifests()
        if (manifest["kind"], manifest["metadata"]["name"]) == (kind, name)
    )
    return found


def _instructions() -> list[tuple[str, str]]:
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = (line for line in text.splitlines() if line and not line.startswith("#"))
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines)]


def _image_environment() -> dict[str, str]:
    (text,) = (rest for word, rest in _instructions() if word == "ENV")
    return dict(item.split("=", 1) for item in text.split())


def _settings(folder: Path, *given: Mapping[str, str]) -> Settings:
    """What a server makes of an environment; it must have nothing to say about it."""
    environment = _image_environment()
    for more in given:
        environment |= more
    for name in environment:
        assert name == "PATH" or name.startswith("PLUPERFECT_"), name
    configuration = load(environment | {"PLUPERFECT_HOME": str(folder)})
    assert configuration.warnings == ()
    return configuration.settings


def _is_ready_for_several(settings: Settings) -> None:
    location = database_location(settings)
    assert isinstance(location, PostgresLocation)
    assert (location.hosts, location.database) == ((("postgres", 5432),), "pluperfect")
    assert (location.user, location.password) == ("pluperfect", "sesame")
    assert redis_url(settings) == "redis://redis:6379/0"
    assert settings.api_host == "0.0.0.0"
    assert settings.api_port == 4200
    assert settings.api_keepalive_timeout_seconds > NGINX_KEEPS_IDLE_SECONDS


def test_the_image_is_made_of_everything_that_the_package_needs_and_of_files_that_exist() -> None:
    copied: set[str] = set()
    for word, rest in _instructions():
        if word == "COPY" and not rest.startswith("--from"):
            *sources, _ = rest.split()
            copied |= set(sources)
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    packages = {name.partition(".")[0] for name in project["tool"]["setuptools"]["packages"]}
    needed = {"pyproject.toml", project["project"]["readme"], *project["project"]["license-files"]}

    assert all((REPOSITORY / name).exists() for name in copied)
    assert copied == packages | needed | {"constraints.txt"}
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    assert {line[1:] for line in ignored if line.startswith("!")} == copied


def test_the_image_runs_commands_that_exist_as_somebody_who_may_do_little() -> None:
    instructions = dict(_instructions())
    entry, command = json.loads(instructions["ENTRYPOINT"]), json.loads(instructions["CMD"])
    check = json.loads(instructions["HEALTHCHECK"].partition("CMD ")[2])

    assert [*entry, *command] == ["pluperfect", "server", "start"]
    assert check[0] == "pluperfect"
    assert commands.fault(command) is None
    assert commands.fault(check[1:]) is None
    user, _, group = instructions["USER"].partition(":")
    assert int(user) > 0 and int(group) > 0
    assert _image_environment()["PLUPERFECT_HOME"] == instructions["VOLUME"]


def test_a_command_that_does_not_exist_is_noticed() -> None:
    assert commands.fault(["server", "begin"]) == "server has no command begin"
    assert commands.fault(["server", "start", "--slowly"]) == "start has no option --slowly"
    assert commands.fault(["--profile", "mine", "begin"]) == "pluperfect has no command begin"


def test_the_servers_of_compose_are_ready_for_each_other(tmp_path: Path) -> None:
    services = _compose()["services"]
    password = services["postgres"]["environment"]["POSTGRES_PASSWORD"]
    for name in ("server-1", "server-2"):
        environment = {
            name: "sesame" if value == password else value
            for name, value in services[name]["environment"].items()
        }
        settings = _settings(tmp_path, environment)
        _is_ready_for_several(settings)
        assert settings.encryption_key is not None, "each would make one of its own, and lose it"


def test_the_secret_of_kubernetes_is_to_hold_the_master_key() -> None:
    text = (DEPLOY / "kubernetes" / "pluperfect.yaml").read_text(encoding="utf-8")
    made, _, _ = text.partition("apiVersion")
    assert "PLUPERFECT_ENCRYPTION_KEY" in made


def test_servers_run_no_services_and_another_container_runs_them() -> None:
    compose = _compose()["services"]
    pods = {
        name: _manifest("Deployment", name)["spec"]["template"]["spec"]["containers"][0]["args"]
        for name in ("pluperfect", "pluperfect-services")
    }
    server = ["server", "start", "--no-services"]
    services = ["server", "services", "start"]

    assert [compose[name]["command"] for name in ("server-1", "server-2")] == [server, server]
    assert compose["services"]["command"] == services
    assert pods == {"pluperfect": server, "pluperfect-services": services}
    assert commands.fault(server) is commands.fault(services) is None


def test_the_services_in_kubernetes_are_as_servers_are_but_for_requests() -> None:
    server, services = (
        _manifest("Deployment", name)["spec"] for name in ("pluperfect", "pluperfect-services")
    )
    labels = services["template"]["metadata"]["labels"]
    assert services["selector"]["matchLabels"] == labels
    assert _manifest("Service")["spec"]["selector"].items().isdisjoint(labels.items())
    for key in ("securityContext", "volumes", "enableServiceLinks"):
        assert server["template"]["spec"][key] == services["template"]["spec"][key]
    (one,), (other,) = (each["template"]["spec"]["containers"] for each in (server, services))
    for key in ("image", "envFrom", "securityContext", "volumeMounts"):
        assert one[key] == other[key]
    assert "ports" not in other


def test_compose_names_services_and_files_that_exist() -> None:
    compose = _compose()
    services = compose["services"]
    for service in services.values():
        assert set(service.get("depends_on", ())) <= services.keys()
        for waited_for, how in service.get("depends_on", {}).items():
            image_checks = "build" in services[waited_for]
            assert how["condition"] == "service_healthy"
            assert image_checks or "healthcheck" in services[waited_for]
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            assert source in compose["volumes"] or (DEPLOY / source).is_file()
        if "build" in service:
            context = DEPLOY / service["build"]["context"]
            assert (context / "pyproject.toml").is_file()
            assert (context / service["build"]["dockerfile"]).is_file()


def test_nginx_hands_on_to_the_servers_of_compose_at_their_ports() -> None:
    services = _compose()["services"]
    text = (DEPLOY / "nginx.conf").read_text(encoding="utf-8")

    found = dict(re.findall(r"^\s*server ([\w-]+):(\d+)", text, re.MULTILINE))

    exposed = dict(_instructions())["EXPOSE"]
    assert found == {name: exposed for name in services if name.startswith("server-")}
    (port,) = re.findall(r"listen (\d+);", text)
    assert [published.partition(":")[2] for published in services["nginx"]["ports"]] == [port]


@pytest.mark.parametrize(
    "checking",
    [
        ("hadolint", "Dockerfile"),
        ("check-jsonschema", "--builtin-schema", "vendor.compose-spec", "compose.yaml"),
        ("kubernetes-validate", "--strict", "kubernetes/pluperfect.yaml"),
    ],
    ids=lambda checking: checking[0],
)
def test_what_containers_are_made_of_passes_its_linter(checking: tuple[str, ...]) -> None:
    program = Path(sys.executable).with_name(checking[0])

    checked = subprocess.run(
        [program, *checking[1:]], cwd=DEPLOY, capture_output=True, text=True, timeout=60
    )

    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_configuration_of_nginx_is_accepted_by_it(tmp_path: Path) -> None:
    program = nginx_serving.nginx()
    path = nginx_serving.configuration(tmp_path, 8080, (4200, 4201))

    checked = subprocess.run(
        [program, "-t", "-p", str(tmp_path), "-c", str(path), "-e", str(tmp_path / "error.log")],
        capture_output=True,
        text=True,
    )

    assert checked.returncode == 0, checked.stderr
    assert "[warn]" not in checked.stderr


def test_nginx_shows_servers_at_the_root_as_it_is_configured(
    start_server: StartServer, tmp_path: Path
) -> None:
    ports = [start_server().port for _ in range(2)]

    with nginx_serving.in_front_of(tmp_path / "nginx", ports) as url:
        for _ in ports:
            assert httpx.get(f"{url}/api/ready").json() == {"message": "OK"}
        assert "Pluperfect" in httpx.get(f"{url}/").text


def test_the_servers_in_kubernetes_are_ready_for_each_other(tmp_path: Path) -> None:
    given = _manifest("ConfigMap")["data"]
    assert all(isinstance(value, str) for value in given.values())

    _is_ready_for_several(_settings(tmp_path, given, {"PLUPERFECT_DATABASE_PASSWORD": "sesame"}))


def _probed(container: Json) -> Iterator[str]:
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        asked = container[probe]["httpGet"]
        assert asked["port"] in {port["name"] for port in container["ports"]}
        yield asked["path"]


def test_kubernetes_asks_and_reaches_what_exists() -> None:
    pod = _manifest("Deployment")["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    labels = pod["metadata"]["labels"].items()
    api = Settings().api_base_path
    answered = {
        api + endpoint.path
        for area in areas()
        for endpoint in area.endpoints
        if endpoint.open_to_all
    }

    assert set(_probed(container)) <= answered
    for kind in ("Service", "PodDisruptionBudget", "Deployment"):
        selector = _manifest(kind)["spec"]["selector"]
        assert selector.get("matchLabels", selector).items() <= labels
    (port,) = _manifest("Service")["spec"]["ports"]
    assert port["targetPort"] in {one["name"] for one in container["ports"]}
    (rule,) = _manifest("Ingress")["spec"]["rules"]
    (path,) = rule["http"]["paths"]
    service = path["backend"]["service"]
    assert service == {
        "name": _manifest("Service")["metadata"]["name"],
        "port": {"name": port["name"]},
    }
    volumes = {volume["name"] for volume in pod["spec"]["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes
    named = [next(iter(source.values()))["name"] for source in container["envFrom"]]
    assert _manifest("ConfigMap")["metadata"]["name"] in named

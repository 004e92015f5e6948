"""`pluperfect profile` keeps sets of settings and chooses between them."""

import json
import os
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from api.cli import app


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in list(os.environ):
        if name.startswith(("PLUPERFECT_", "PREFECT_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PLUPERFECT_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def ran(*arguments: str) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def refused(*arguments: str) -> str:
    result = run(*arguments)
    assert result.exit_code == 1, result.output
    assert result.stderr.startswith("Error: ")
    return result.stderr


def kept(home: Path) -> dict[str, Any]:
    return tomllib.loads((home / "profiles.toml").read_text())


def listed() -> dict[str, bool]:
    return {row["name"]: row["active"] for row in json.loads(ran("profile", "ls", "--json"))}


def test_without_a_file_there_is_one_profile(home: Path) -> None:
    assert ran("profile", "ls") == "* default\n"
    assert listed() == {"default": True}
    assert not home.exists()


def test_a_created_profile_is_empty_and_not_yet_in_use() -> None:
    assert "pluperfect profile use prod" in ran("profile", "create", "prod")
    assert listed() == {"default": True, "prod": False}
    assert ran("profile", "inspect", "prod") == "Profile 'prod' is empty.\n"


def test_commands_that_are_suggested_can_be_pasted_whatever_the_name_holds() -> None:
    name = "what's this"
    suggested = [shlex.split(line)[-4:] for line in ran("profile", "create", name).splitlines()]
    assert suggested[1][-3:] == ["profile", "use", name]
    assert suggested[2] == ["-p", name, "config", "view"]


def test_a_profile_can_begin_as_a_copy() -> None:
    ran("config", "set", "PLUPERFECT_API_PORT=2")
    ran("profile", "create", "copy", "--from", "default")
    ran("config", "set", "PLUPERFECT_API_PORT=3")
    assert ran("profile", "inspect", "copy") == "PLUPERFECT_API_PORT='2'\n"
    assert "no profile 'nowhere'" in refused("profile", "create", "x", "--from", "nowhere")


def test_a_name_in_use_is_refused() -> None:
    assert "already a profile 'default'" in refused("profile", "create", "default")
    assert "needs a name" in refused("profile", "create", " ")


def test_using_a_profile_makes_its_settings_count(home: Path) -> None:
    ran("profile", "create", "prod")
    ran("-p", "prod", "config", "set", "PLUPERFECT_API_PORT=2")
    assert "Profile 'prod' is active" in ran("profile", "use", "prod")
    assert kept(home)["active"] == "prod"
    assert "PLUPERFECT_API_PORT='2' (from profile)" in ran("config", "view")
    assert listed() == {"default": False, "prod": True}


def test_using_a_profile_that_does_not_exist_is_refused() -> None:
    assert "no profile 'prod'. Existing profiles: default" in refused("profile", "use", "prod")


def test_using_a_profile_with_a_mistake_says_so(home: Path) -> None:
    home.mkdir()
    (home / "profiles.toml").write_text(
        '[profiles.default]\n[profiles.prod]\nPLUPERFECT_API_PORT = "many"\n'
    )
    assert "is 'many' but must be a whole number" in refused("profile", "use", "prod")
    assert kept(home)["active"] == "prod"


def test_an_environment_variable_that_chooses_another_profile_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ran("profile", "create", "prod")
    monkeypatch.setenv("PLUPERFECT_PROFILE", "default")
    result = run("profile", "use", "prod")
    assert "PLUPERFECT_PROFILE still chooses 'default'" in result.stderr
    assert listed() == {"default": True, "prod": False}


def test_inspect_shows_the_profile_in_use_with_its_secrets_masked() -> None:
    ran("config", "set", "PLUPERFECT_API_AUTH_STRING=me:hidden")
    assert ran("profile", "inspect") == "PLUPERFECT_API_AUTH_STRING='********'\n"
    assert json.loads(ran("profile", "inspect", "--show-secrets", "-o", "json")) == {
        "PLUPERFECT_API_AUTH_STRING": "me:hidden"
    }


def test_inspecting_an_active_profile_that_is_missing_names_the_file_that_asks_for_it(
    home: Path,
) -> None:
    home.mkdir()
    (home / "profiles.toml").write_text('active = "gone"\n[profiles.a]\n')
    assert "profile 'gone', which `active` in " in refused("profile", "inspect")


def test_a_renamed_profile_keeps_its_settings_and_stays_active(home: Path) -> None:
    ran("config", "set", "PLUPERFECT_API_PORT=2")
    ran("profile", "rename", "default", "mine")
    assert kept(home) == {"active": "mine", "profiles": {"mine": {"PLUPERFECT_API_PORT": "2"}}}
    assert "no profile 'default'" in refused("profile", "rename", "default", "other")
    ran("profile", "create", "other")
    assert "already a profile 'other'" in refused("profile", "rename", "mine", "other")


def test_renaming_the_profile_that_the_environment_chooses_says_what_to_change(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ran("profile", "create", "prod")
    monkeypatch.setenv("PLUPERFECT_PROFILE", "prod")
    assert "set it to 'live'" in run("profile", "rename", "prod", "live").stderr


def test_a_deleted_profile_is_gone_and_the_others_keep_their_comments(home: Path) -> None:
    home.mkdir()
    rest = 'active = "a"\n\n[profiles.a]\n# why\nPLUPERFECT_API_PORT = "1" # note\n'
    (home / "profiles.toml").write_text(f"{rest}\n[profiles.b]\n")
    assert "Deleted profile 'b'" in ran("profile", "delete", "b", "-y")
    assert (home / "profiles.toml").read_text().rstrip() == rest.rstrip()


def test_a_profile_is_not_deleted_without_a_word_where_nobody_can_be_asked() -> None:
    ran("profile", "create", "b")
    assert "Say so with --yes." in refused("profile", "delete", "b")
    assert "b" in listed()


def test_a_profile_in_use_is_not_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    ran("profile", "create", "prod")
    assert "is in use" in refused("profile", "delete", "default", "-y")
    assert "is in use" in refused("-p", "prod", "profile", "delete", "prod", "-y")
    monkeypatch.setenv("PLUPERFECT_PROFILE", "prod")
    assert "is in use" in refused("profile", "delete", "prod", "-y")
    assert list(listed()) == ["default", "prod"]


def test_a_file_without_an_active_profile_gets_one_where_toml_wants_it(home: Path) -> None:
    home.mkdir()
    (home / "profiles.toml").write_text('[profiles.a]\nPLUPERFECT_API_PORT = "1"\n')
    ran("profile", "use", "a")
    assert kept(home) == {"active": "a", "profiles": {"a": {"PLUPERFECT_API_PORT": "1"}}}


def test_profiles_that_are_scattered_over_the_file_can_be_changed(home: Path) -> None:
    home.mkdir()
    (home / "profiles.toml").write_text(
        'active = "a"\n[profiles.a]\n[other]\nx = 1\n[profiles.b]\nPLUPERFECT_API_PORT = "1"\n'
    )
    ran("profile", "rename", "b", "c d")
    ran("profile", "create", "e", "--from", "c d")
    ran("profile", "delete", "c d", "-y")
    assert kept(home) == {
        "active": "a",
        "profiles": {"a": {}, "e": {"PLUPERFECT_API_PORT": "1"}},
        "other": {"x": 1},
    }

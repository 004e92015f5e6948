"""`pluperfect config` keeps settings in the profile and shows what is in force."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from api.cli import Lazy, LazyGroup, app


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
    assert result.stdout == ""
    return result.stderr


def viewed(*arguments: str) -> dict[str, tuple[str, str]]:
    answer = json.loads(ran(*arguments, "config", "view", "--json"))
    return {row["name"]: (row["value"], row["source"]) for row in answer["settings"]}


def test_a_setting_that_was_set_is_viewed_and_gone_when_unset() -> None:
    out = ran("config", "set", "PLUPERFECT_API_PORT=4300", "PLUPERFECT_UI_ENABLED=false")
    assert "Set PLUPERFECT_API_PORT to '4300'." in out
    assert "PLUPERFECT_API_PORT='4300' (from profile)" in ran("config", "view")
    assert "Unset PLUPERFECT_API_PORT." in ran("config", "unset", "PLUPERFECT_API_PORT", "-y")
    shown = ran("config", "view")
    assert "PLUPERFECT_API_PORT" not in shown
    assert "PLUPERFECT_UI_ENABLED='false'" in shown


def test_the_profiles_file_is_private_and_says_what_was_set(home: Path) -> None:
    ran("config", "set", "PLUPERFECT_API_AUTH_STRING=me:secret")
    file = home / "profiles.toml"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_text() == (
        'active = "default"\n\n[profiles.default]\nPLUPERFECT_API_AUTH_STRING = "me:secret"\n'
    )
    assert [path.name for path in home.iterdir()] == ["profiles.toml"]


def test_comments_and_everything_else_in_the_file_stay(home: Path) -> None:
    home.mkdir()
    text = (
        '# mine\nactive = "a" # chosen\n\n[profiles.a]\n# why\nPLUPERFECT_API_HOST = "h"  # note\n'
        "PLUPERFECT_API_PORT = 1\n\n[other]\nx = 1\n"
    )
    (home / "profiles.toml").write_text(text)
    ran("config", "set", "PLUPERFECT_API_PORT=2")
    changed = text.replace("PLUPERFECT_API_PORT = 1", 'PLUPERFECT_API_PORT = "2"')
    assert (home / "profiles.toml").read_text() == changed


def test_a_link_to_a_file_elsewhere_stays_a_link(home: Path, tmp_path: Path) -> None:
    home.mkdir()
    elsewhere = tmp_path / "dotfiles.toml"
    elsewhere.write_text("")
    (home / "profiles.toml").symlink_to(elsewhere)
    ran("config", "set", "PLUPERFECT_API_PORT=2")
    assert (home / "profiles.toml").is_symlink()
    assert "PLUPERFECT_API_PORT" in elsewhere.read_text()


def test_prefects_name_is_kept_under_ours_and_replaces_it() -> None:
    ran("config", "set", "PLUPERFECT_DATABASE_TIMEOUT=1")
    out = ran("config", "set", "PREFECT_API_DATABASE_TIMEOUT=5")
    assert "Set PLUPERFECT_DATABASE_TIMEOUT to '5' (PREFECT_API_DATABASE_TIMEOUT is another" in out
    assert viewed()["PLUPERFECT_DATABASE_TIMEOUT"] == ("5", "profile")
    ran("config", "unset", "PREFECT_SERVER_DATABASE_TIMEOUT", "-y")
    assert "PLUPERFECT_DATABASE_TIMEOUT" not in viewed()


@pytest.mark.parametrize(
    ("assignment", "says"),
    [
        ("PLUPERFECT_API_PORT", "write NAME=VALUE"),
        ("PLUPERFECT_API_PROT=1", "Did you mean 'PLUPERFECT_API_PORT'?"),
        ("PLUPERFECT_API_PORT=many", "is 'many' but must be a whole number from 0 to 65535"),
        ("PLUPERFECT_API_PORT=", "config unset PLUPERFECT_API_PORT"),
        ("PLUPERFECT_HOME=there", "set it as an environment variable"),
        ("PLUPERFECT_PROFILE=x", "set it as an environment variable"),
        ("PREFECT_API_URL=http://x", "with `prefect config set PREFECT_API_URL=…`"),
        ("PLUPERFECT_API_KEY=x", "PLUPERFECT_API_KEY is for clients, not for a server"),
    ],
)
def test_what_cannot_be_set_is_refused_in_one_line_and_nothing_is_written(
    home: Path, assignment: str, says: str
) -> None:
    line = refused("config", "set", "PLUPERFECT_UI_ENABLED=true", assignment)
    assert says in line
    assert line.startswith("Error: ")
    assert line.count("\n") == 1
    assert not home.exists()


def test_an_environment_variable_that_shadows_the_profile_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PREFECT_SERVER_API_PORT", "1")
    result = run("config", "set", "PLUPERFECT_API_PORT=2")
    assert "PREFECT_SERVER_API_PORT is set and comes before the profile" in result.stderr
    assert viewed()["PLUPERFECT_API_PORT"] == ("1", "env")


def test_unsetting_what_is_not_set_is_refused() -> None:
    assert "PLUPERFECT_API_PORT is not set in profile 'default'" in refused(
        "config", "unset", "PLUPERFECT_API_PORT", "-y"
    )


def test_a_name_that_is_no_setting_can_be_removed(home: Path) -> None:
    home.mkdir()
    (home / "profiles.toml").write_text("[profiles.default]\nPLUPERFECT_OLD = 1\n")
    ran("config", "unset", "PLUPERFECT_OLD", "-y")
    assert "PLUPERFECT_OLD" not in (home / "profiles.toml").read_text()


def test_defaults_are_viewed_on_request() -> None:
    assert "PLUPERFECT_API_PORT" not in ran("config", "view")
    assert "PLUPERFECT_API_PORT='4200' (from defaults)" in ran("config", "view", "--show-defaults")
    assert "(from" not in ran("config", "view", "--show-defaults", "--hide-sources")


def test_secrets_are_masked_unless_asked_for() -> None:
    url = "postgresql://me:hidden@h/db"
    out = ran(
        "config", "set", f"PLUPERFECT_DATABASE_URL={url}", "PLUPERFECT_API_AUTH_STRING=hidden"
    )
    assert "hidden" not in out
    assert "hidden" not in ran("config", "view")
    assert viewed()["PLUPERFECT_DATABASE_URL"][0] == "postgresql://me:********@h/db"
    assert f"PLUPERFECT_DATABASE_URL='{url}'" in ran("config", "view", "--show-secrets")


def test_json_has_the_shape_of_prefects() -> None:
    ran("config", "set", "PLUPERFECT_API_PORT=2")
    home_row = {"name": "PLUPERFECT_HOME", "value": os.environ["PLUPERFECT_HOME"], "source": "env"}
    assert json.loads(ran("config", "view", "-o", "json")) == {
        "profile": "default",
        "settings": [
            {"name": "PLUPERFECT_API_PORT", "value": "2", "source": "profile"},
            home_row,
        ],
    }
    assert "there is only json" in refused("config", "view", "-o", "yaml")


def test_a_valid_configuration_is_called_valid() -> None:
    assert "valid" in ran("config", "validate")
    assert json.loads(ran("config", "validate", "--json")) == {"valid": True, "problems": []}


def test_validate_names_every_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_SERVER_API_PORT", "many")
    monkeypatch.setenv("PLUPERFECT_UI_ENABELD", "true")
    assert refused("config", "validate").splitlines() == [
        "Error: PREFECT_SERVER_API_PORT is 'many' but must be a whole number from 0 to 65535.",
        "Error: There is no setting 'PLUPERFECT_UI_ENABELD'. Did you mean 'PLUPERFECT_UI_ENABLED'?",
    ]
    result = run("config", "validate", "--json")
    assert result.exit_code == 1
    assert len(json.loads(result.stdout)["problems"]) == 2


def test_a_broken_configuration_can_be_viewed_and_mended(home: Path) -> None:
    home.mkdir()
    (home / "profiles.toml").write_text('[profiles.default]\nPLUPERFECT_API_PORT = "many"\n')
    assert "PLUPERFECT_API_PORT='many' (from profile)" in run("config", "view").stdout
    ran("config", "set", "PLUPERFECT_API_PORT=2")
    ran("config", "validate")
    assert viewed()["PLUPERFECT_API_PORT"] == ("2", "profile")


def test_a_broken_profiles_file_is_one_line(home: Path) -> None:
    home.mkdir()
    (home / "profiles.toml").write_text("active = ")
    line = refused("config", "view")
    assert "profiles.toml is not valid TOML" in line
    assert line.count("\n") == 1


def test_a_profile_can_be_chosen_for_one_command() -> None:
    ran("profile", "create", "other")
    ran("-p", "other", "config", "set", "PLUPERFECT_API_PORT=2")
    assert "PLUPERFECT_API_PORT" not in viewed()
    assert viewed("--profile", "other")["PLUPERFECT_API_PORT"] == ("2", "profile")
    assert "no profile 'nowhere', which --profile asks for" in refused(
        "-p", "nowhere", "config", "view"
    )


def test_the_version_is_printed_in_both_ways() -> None:
    version = ran("--version").strip()
    assert json.loads(ran("version", "--json"))["version"] == version


def test_a_mistyped_command_is_answered_with_the_nearest() -> None:
    result = run("cofnig")
    assert result.exit_code == 2
    assert "config" in result.stderr


def test_the_command_line_starts_without_loading_what_it_does_not_need() -> None:
    code = (
        "import sys; sys.argv = ['pluperfect', 'config', 'view']\n"
        "from api.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "slow = {'litestar', 'granian', 'asyncpg', 'yoyo', 'tomlkit', 'rich', 'api.cli.server'}\n"
        "sys.exit(', '.join(slow & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_a_group_without_a_module_is_not_offered_and_hinders_no_other() -> None:
    class Group(LazyGroup):
        below = {  # noqa: RUF012
            "absent": Lazy("api.cli.absent"),
            "version": Lazy("api.cli.version", single=True),
            "outer": Lazy("api.cli.absent", below={"config": Lazy("api.cli.config")}),
        }

    partial = typer.Typer(cls=Group)
    partial.callback()(lambda: None)
    runner = CliRunner()
    help_text = runner.invoke(partial, ["--help"]).stdout
    assert "version" in help_text
    assert "absent" not in help_text
    assert runner.invoke(partial, ["version"]).exit_code == 0
    assert runner.invoke(partial, ["outer", "config", "view"]).exit_code == 0
    assert runner.invoke(partial, ["absent"]).exit_code == 2


def test_the_shell_completes_names_of_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_PLUPERFECT_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "pluperfect config set PLUPERFECT_API_PO")
    monkeypatch.setenv("COMP_CWORD", "3")
    result = CliRunner().invoke(app, [], prog_name="pluperfect")
    assert result.stdout.strip() == "PLUPERFECT_API_PORT="


def test_everything_that_is_wrong_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLUPERFECT_API_PORT", "many")
    monkeypatch.setenv("PLUPERFECT_DATABASE_URL", "oracle://nowhere")
    monkeypatch.setenv("PLUPERFECT_API_PROT", "1")
    home = Path(os.environ["PLUPERFECT_HOME"])
    home.mkdir()
    (home / "profiles.toml").write_text(
        '[profiles.default]\nPLUPERFECT_API_WORKERS = "none"\nPLUPERFECT_OLD = "1"\n'
    )
    said = refused("config", "validate")
    for name in (
        *("PLUPERFECT_API_PORT is", "PLUPERFECT_DATABASE_URL is", "PLUPERFECT_API_WORKERS in the"),
        *("no setting 'PLUPERFECT_API_PROT'", "no setting 'PLUPERFECT_OLD'"),
    ):
        assert name in said


def test_a_view_shows_a_value_that_cannot_be_used_and_fails_as_validate_does(home: Path) -> None:
    home.mkdir()
    (home / "profiles.toml").write_text('[profiles.default]\nPLUPERFECT_API_PORT = "many"\n')
    for arguments in (("config", "view"), ("config", "view", "--json")):
        shown = run(*arguments)
        assert shown.exit_code == 1
        assert "many" in shown.stdout
        assert "PLUPERFECT_API_PORT in the profile is 'many' but must be" in shown.stderr
    assert run("config", "validate").exit_code == 1


def test_a_base_path_that_no_url_can_have_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    says = "is 'a b?x' but must be a path of letters, digits and"
    assert f"--base-path {says}" in refused("server", "start", "--base-path", "a b?x")
    monkeypatch.setenv("PLUPERFECT_BASE_PATH", "a b?x")
    assert f"PLUPERFECT_BASE_PATH {says}" in refused("config", "validate")


@pytest.mark.parametrize(
    ("assignment", "says"),
    [
        ("PLUPERFECT_DATABASE_URL=mysql://h/n", "has the unknown scheme 'mysql'"),
        ("PREFECT_API_DATABASE_CONNECTION_URL=postgresql://h", "names no database"),
        ("PLUPERFECT_REDIS_URL=http://h", "does not begin with redis://"),
        ("PLUPERFECT_BASE_PATH=a b?x", "must be a path of letters, digits and"),
    ],
)
def test_an_address_that_no_server_could_use_is_not_kept(
    assignment: str, says: str, home: Path
) -> None:
    said = refused("config", "set", assignment)
    assert said.startswith(f"Error: {assignment.partition('=')[0]} ")
    assert says in said
    assert not (home / "profiles.toml").exists()


def test_the_parts_of_an_address_are_set_one_after_the_other() -> None:
    for part in ("DRIVER=postgresql+asyncpg", "HOST=h", "USER=u", "NAME=n"):
        ran("config", "set", f"PLUPERFECT_DATABASE_{part}")
    assert "valid" in ran("config", "validate")


def test_a_table_that_is_no_profile_is_named(home: Path) -> None:
    home.mkdir()
    (home / "profiles.toml").write_text('[default]\nPLUPERFECT_API_PORT = "4300"\n')
    said = refused("config", "validate")
    assert f"'default' in {home / 'profiles.toml'} is not read" in said
    assert "[profiles.NAME]" in said


def test_bytes_that_are_no_text_are_not_kept(home: Path) -> None:
    ran("profile", "create", "one")
    said = refused("profile", "create", "gr\udcc3\udcb6")
    assert f"{home / 'profiles.toml'} is not changed" in said
    assert ran("profile", "ls").split() == ["*", "default", "one"]


def test_a_home_that_is_a_file_is_said_in_a_sentence(home: Path) -> None:
    home.write_text("")
    assert refused("config", "view") == f"Error: The home {home} is not a folder.\n"


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (("server", "database", "reset"), "Running servers go on with the old rows"),
        (("server", "database", "downgrade"), "by the next upgrade; run log lines are not in"),
        (("projections", "rebuild"), "in one step. Interrupted, it changes nothing;"),
        (("projections", "rebuild"), "rebuild [OPTIONS] [NAME]..."),
        (("config", "set"), "set [OPTIONS] {NAME=VALUE}..."),
        (("config", "set"), "A running server goes on with what it started with."),
    ],
)
def test_help_is_broken_into_lines_by_the_terminal_alone(
    command: tuple[str, ...], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    assert sentence in ran(*command, "--help")


def test_nothing_is_coloured_where_no_colour_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    def shown(*arguments: str) -> str:
        return CliRunner().invoke(app, list(arguments), color=True).output

    commands = (("profile", "ls"), ("config", "set", "PLUPERFECT_API_PROT=1"))
    assert all("\x1b[" in shown(*command) for command in commands)
    monkeypatch.setenv("NO_COLOR", "1")
    assert not any("\x1b[" in shown(*command) for command in commands)

"""Settings of what is served: the API and the pages."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated

from api.setting import PORT_MAX, Setting
from api.settings_of_services import ServiceSettings


class ApiSettings(ServiceSettings, frozen=True, kw_only=True):
    """Where requests are listened for, who may send them, and how large they may be."""

    ui_enabled: Annotated[
        bool,
        Setting(
            doc="Serve the pages for the browser; /docs is there in any case.",
            at="server.ui.enabled",
            legacy=("PREFECT_UI_ENABLED",),
        ),
    ] = True

    api_host: Annotated[
        str,
        Setting(
            doc="Address to listen at; 0.0.0.0 makes the server reachable from other machines.",
            at="server.api.host",
        ),
    ] = "127.0.0.1"
    api_port: Annotated[
        int,
        Setting(
            doc="Port to listen at; 0 takes any free one.",
            at="server.api.port",
            least=0,
            most=PORT_MAX,
        ),
    ] = 4200
    api_workers: Annotated[
        int,
        Setting(doc="Worker processes that answer requests.", at="pluperfect.api_workers", least=1),
    ] = 1
    api_base_path: Annotated[
        str,
        Setting(doc="Path under which the API is served.", at="server.api.base_path"),
    ] = "/api"
    base_path: Annotated[
        str,
        Setting(
            doc="Path at which a reverse proxy shows this server: pages, API and websockets are "
            "below it.",
            at="pluperfect.base_path",
        ),
    ] = ""
    ui_url: Annotated[
        str | None,
        Setting(
            doc="Where people see the pages, for links in what automations send.",
            at="ui_url",
            when_none="the next setting, without its `/api`",
        ),
    ] = None
    ui_api_url: Annotated[
        str | None,
        Setting(
            doc="Where browsers find the API; only for links, as the pages find it by themselves.",
            at="server.ui.api_url",
            legacy=("PREFECT_UI_API_URL", "PREFECT_API_URL"),
            when_none="the host and port that are listened at; instead of all addresses, such as "
            "0.0.0.0, the name of this machine",
        ),
    ] = None
    api_ssl_certfile: Annotated[
        Path | None,
        Setting(
            doc="Certificate (PEM, with those that vouch for it) to speak TLS with.",
            at="pluperfect.api_ssl_certfile",
            when_none="plain http",
        ),
    ] = None
    api_ssl_keyfile: Annotated[
        Path | None,
        Setting(
            doc="Private key (PEM, without a password) of that certificate.",
            at="pluperfect.api_ssl_keyfile",
            when_none="plain http",
        ),
    ] = None
    api_default_limit: Annotated[
        int,
        Setting(
            doc="Items in a list if the request names no limit, and the most it may ask for.",
            at="server.api.default_limit",
            legacy=("PREFECT_API_DEFAULT_LIMIT",),
            least=1,
        ),
    ] = 200
    api_keepalive_timeout_seconds: Annotated[
        int,
        Setting(
            doc="How long an idle connection is kept open, 30 seconds at least (0: closed after "
            "each answer); behind a load balancer, choose more than its own idle timeout.",
            at="server.api.keepalive_timeout",
            name="PLUPERFECT_API_KEEPALIVE_TIMEOUT",
            unit="seconds",
            least=0,
        ),
    ] = 5
    api_auth_string: Annotated[
        str | None,
        Setting(
            doc="`user:password` that every request must present as basic authentication.",
            at="server.api.auth_string",
            secret="all",
            when_none="everybody is let in",
        ),
    ] = None
    api_csrf_protection_enabled: Annotated[
        bool,
        Setting(
            doc="Refuse changing requests that carry no token from `/api/csrf-token`.",
            at="server.api.csrf_protection_enabled",
            legacy=("PREFECT_SERVER_CSRF_PROTECTION_ENABLED",),
        ),
    ] = False
    api_csrf_token_expiration: Annotated[
        timedelta,
        Setting(
            doc="How long such a token is valid.",
            at="server.api.csrf_token_expiration",
            legacy=("PREFECT_SERVER_CSRF_TOKEN_EXPIRATION",),
        ),
    ] = timedelta(hours=1)
    api_cors_allowed_origins: Annotated[
        tuple[str, ...],
        Setting(
            doc="Web origins whose pages may call the API; `*` is any.",
            at="server.api.cors_allowed_origins",
            legacy=("PREFECT_SERVER_CORS_ALLOWED_ORIGINS",),
        ),
    ] = ("*",)
    api_cors_allowed_methods: Annotated[
        tuple[str, ...],
        Setting(
            doc="Methods that pages of other origins may use; `*` is any.",
            at="server.api.cors_allowed_methods",
            legacy=("PREFECT_SERVER_CORS_ALLOWED_METHODS",),
        ),
    ] = ("*",)
    api_cors_allowed_headers: Annotated[
        tuple[str, ...],
        Setting(
            doc="Headers that pages of other origins may send; `*` is any.",
            at="server.api.cors_allowed_headers",
            legacy=("PREFECT_SERVER_CORS_ALLOWED_HEADERS",),
        ),
    ] = ("*",)
    api_websocket_ping_interval_seconds: Annotated[
        float,
        Setting(
            doc="How long a connection is silent before the client's machine is asked whether it "
            "is still there (TCP keep-alive); clients of Prefect ping as well.",
            at="server.api.websocket_ping_interval",
            name="PLUPERFECT_API_WEBSOCKET_PING_INTERVAL",
            unit="seconds",
            above=0,
        ),
    ] = 20.0
    api_websocket_ping_timeout_seconds: Annotated[
        float,
        Setting(
            doc="How long that may stay unanswered before the connection is closed.",
            at="server.api.websocket_ping_timeout",
            name="PLUPERFECT_API_WEBSOCKET_PING_TIMEOUT",
            unit="seconds",
            above=0,
        ),
    ] = 20.0
    api_max_parameter_size_bytes: Annotated[
        int,
        Setting(
            doc="Largest parameters, as JSON, of a flow run or a deployment; 0 sets no limit.",
            at="server.api.max_parameter_size",
            name="PLUPERFECT_API_MAX_PARAMETER_SIZE",
            unit="bytes",
            least=0,
        ),
    ] = 524_288

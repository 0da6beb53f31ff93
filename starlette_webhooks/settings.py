"""Settings: their fields, what each accepts, and what they mean together."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Literal

from pydantic import AliasChoices, Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from starlette_webhooks.asymmetric import SigningKey
from starlette_webhooks.database_url import DatabaseURL, parse_database
from starlette_webhooks.proxy_url import ProxyURL, parse_proxy
from starlette_webhooks.setting_values import (
    check_certificates,
    check_database,
    check_keys,
    check_logo,
    check_nat64,
    check_origins,
    check_ports,
    check_proxy,
    check_public_url,
    check_schedule,
    check_signing_keys,
    keys_of,
    read_networks,
    signing_keys_of,
    split,
)

__all__ = ["WebhooksSettings"]


class WebhooksSettings(BaseSettings):
    """The settings of `Webhooks`. Each field is read from `WEBHOOKS_<FIELD>`. Arguments take precedence.

    Raises:
        pydantic.ValidationError: A value is not valid. The message names the variable.
    """

    model_config = SettingsConfigDict(
        env_prefix="WEBHOOKS_",
        # Docker Compose and similar tools pass unset variables as empty ones.
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        populate_by_name=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,
    )

    database: str = Field(
        default="webhooks.db",
        min_length=1,
        # A URL may contain a password.
        repr=False,
        description="The path of the SQLite file, `:memory:`, or a URL: `sqlite:///webhooks.db`, "
        "`postgresql://user@host/name`.",
    )
    database_timeout: float = Field(
        default=5,
        ge=0.1,
        le=3600,
        description="Seconds to wait for PostgreSQL, or for another process that has locked the SQLite file, before a "
        "call fails with 503.",
    )
    database_schema: str = Field(
        default="webhooks",
        pattern=r"^[A-Za-z_][A-Za-z0-9_$-]{0,62}$",
        description="PostgreSQL: the schema that contains the tables.",
    )
    database_connections: int = Field(
        default=4,
        ge=1,
        le=1000,
        description="PostgreSQL: connections per process, in addition to three: one commits events, one records "
        "attempts, one listens.",
    )
    database_wait: float = Field(
        default=30.0, ge=0, le=3600, description="PostgreSQL: seconds to wait for an unavailable server at startup."
    )
    database_listen: SecretStr | None = Field(
        default=None,
        description="PostgreSQL: a URL of the same database without a pooler in between. Other processes' events then "
        "arrive immediately, by `LISTEN`. By default, processes poll.",
    )
    migrate: bool = Field(
        default=True,
        description="Whether the schema is migrated at startup. If not, a process with an older schema does not start "
        "until you run `starlette-webhooks migrate`.",
    )
    environment: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$",
        description="The name of this deployment, such as `production`. The database stores the first one. A process "
        "with another name, or none, does not start with this database or a copy of it.",
    )
    secret_key: SecretStr | None = Field(
        default=None,
        description="Signs stream tickets and portal sessions. At least 32 bytes. For rotation, separate several keys "
        "by commas: the first one signs, and all of them verify. By default, a key is generated and stored in the "
        "database.",
    )
    encryption_key: SecretStr | None = Field(
        default=None,
        description="Encrypts the secrets and headers of endpoints in the database. At least 32 bytes. For rotation, "
        "separate several keys by commas: the first one encrypts, and all of them decrypt. Requires the extra "
        "`encryption`.",
    )
    read_scope: str = Field(default="webhooks:read", min_length=1, description="The scope required to read.")
    write_scope: str = Field(default="webhooks:write", min_length=1, description="The scope required to make changes.")

    max_event_bytes: int = Field(
        default=1_048_576, ge=1024, le=16_777_216, description="The maximum size of an event's payload, in bytes."
    )
    queue_events: int = Field(
        default=10_000, ge=1, le=10_000_000, description="Events that may wait for their commit, per process."
    )
    queue_bytes: int = Field(
        default=67_108_864,
        ge=65_536,
        le=68_719_476_736,
        description="Bytes of events that may wait for their commit, per process.",
    )
    flush_before_response: bool = Field(
        default=True, description="Whether a response waits until its events are durable."
    )
    retention_days: float = Field(
        default=30, ge=1, le=36_500, description="Days for which events and attempts are stored."
    )

    operator_tenant: str | None = Field(
        default=None,
        min_length=1,
        max_length=256,
        description="The tenant that gets operational events about the endpoints and deliveries of all other tenants: "
        "on its stream, in its list, and at its endpoints.",
    )

    alive_dispatcher_age: float = Field(
        default=60.0,
        ge=0,
        le=31_536_000,
        description="Seconds that the dispatcher may stand still before `/healthz` answers 503. 0 means no limit.",
    )
    ready_backlog_age: float = Field(
        default=0.0,
        ge=0,
        le=31_536_000,
        description="Seconds that the oldest due delivery may be late before `/readyz` answers 503. 0 means no limit.",
    )
    ready_outbox_age: float = Field(
        default=0.0,
        ge=0,
        le=31_536_000,
        description="Seconds that an event may wait in the outbox before `/readyz` answers 503. 0 means no limit.",
    )
    ready_dead_letters: int = Field(
        default=0,
        ge=0,
        le=10_000,
        description="The number of dead-lettered events from which `/readyz` answers 503. 0 means no limit.",
    )

    heartbeat: float = Field(default=2.0, ge=0.1, le=60, description="Seconds between heartbeats of a stream.")
    stream_max_age: float = Field(
        default=900.0, ge=1, le=604_800, description="Seconds after which a stream ends. Clients reconnect."
    )
    stream_send_timeout: float = Field(
        default=20.0, ge=0.5, le=3600, description="Seconds that a reader may block before its stream is aborted."
    )
    streams_per_tenant: int = Field(default=100, ge=1, le=1_000_000, description="Open streams per tenant and process.")
    streams_per_process: int = Field(
        default=10_000,
        ge=1,
        le=1_000_000,
        description="Open streams per process. One tenant gets at most half of them.",
    )
    stream_buffer_bytes: int = Field(
        default=16_777_216,
        ge=65_536,
        le=68_719_476_736,
        description="Bytes of recent events that are cached for all streams, per process.",
    )
    ticket_max_age: float = Field(
        default=3600.0, ge=1, le=604_800, description="Seconds for which a stream ticket is valid."
    )
    handle_signals: bool = Field(
        default=True, description="Whether a chained signal handler ends open streams at SIGTERM and SIGINT."
    )

    calls_per_second: float = Field(
        default=100.0,
        ge=0,
        le=1_000_000,
        description="Calls of the routes that a tenant may make per second and process. Large ones count as several. 0 "
        "means no limit.",
    )
    calls_burst: int = Field(
        default=200, ge=1, le=1_000_000, description="Calls that a tenant may make together after a pause, per process."
    )
    calls_in_flight: int = Field(
        default=50, ge=0, le=1_000_000, description="Calls of a tenant at a time, per process. 0 means no limit."
    )
    test_bytes_per_day: int = Field(
        default=1_048_576,
        ge=0,
        le=68_719_476_736,
        description="Bytes of test events that a tenant may store per day and process. 0 means no limit.",
    )
    response_bytes_per_day: int = Field(
        default=16_777_216,
        ge=0,
        le=68_719_476_736,
        description="Bytes of responses of its endpoints that are stored for a tenant per day and process. Beyond "
        "that, only their first 512 bytes are. 0 means no limit.",
    )
    resends_per_minute: int = Field(
        default=10,
        ge=0,
        le=1_000_000,
        description="Resends and tests of one endpoint that customers may request per minute and process, and ten "
        "times as many of all endpoints of a tenant. 0 means no limit.",
    )
    body_timeout: float = Field(default=10.0, ge=0.1, le=3600, description="Seconds within which a body must arrive.")
    page_memory_bytes: int = Field(
        default=67_108_864,
        ge=1_048_576,
        description="Bytes of replays, lists and other large responses that are being sent to clients, per process. "
        "One tenant gets at most half of what is free.",
    )

    deliver: bool = Field(
        default=True, description="Whether this process delivers to endpoints. Turn it off in processes that only emit."
    )
    retry_schedule: Annotated[tuple[float, ...], NoDecode] = Field(
        default=(0, 5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400),
        description="Seconds before each attempt of a delivery, counted from the previous attempt.",
    )
    attempt_timeout: float = Field(default=15.0, gt=0, le=300, description="Seconds for one attempt as a whole.")
    shutdown_grace: float = Field(
        default=5.0, ge=0, le=300, description="Seconds that running attempts have to end when the process stops."
    )
    concurrency: int = Field(default=128, ge=1, le=10_000, description="Attempts at a time, per process.")
    endpoint_concurrency: int = Field(
        default=8, ge=1, le=10_000, description="Attempts at a time to one endpoint, per process."
    )
    endpoints_per_tenant: int = Field(default=50, ge=1, le=1_000_000, description="Endpoints per tenant.")
    disable_after: float = Field(
        default=432_000,
        ge=0,
        le=31_536_000,
        description="Seconds without a success after which a failing endpoint is disabled. 0 means never.",
    )
    signature_headers: Literal["webhook", "svix", "both"] = Field(
        default="webhook", description="The prefix of the signature headers."
    )
    signing_key: SecretStr | None = Field(
        default=None,
        description="Signs deliveries with ed25519 too, as `v1a`: `whsk_...`. For rotation, separate several keys by "
        "commas: all of them sign. The public keys are at `GET /jwks.json`. Requires the extra `encryption`.",
    )
    send_traceparent: bool = Field(
        default=False,
        description="Whether receivers get the trace context of each attempt, as `traceparent`. Requires "
        "OpenTelemetry.",
    )
    allow_http: bool = Field(default=True, description="Whether endpoints may have `http:` URLs.")
    allow_networks: Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode] = Field(
        default=(),
        description="Networks that deliveries may go to, besides public ones, such as `127.0.0.0/8` in development.",
    )
    deny_networks: Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode] = Field(
        default=(),
        description="Networks that deliveries never go to, such as the public addresses of the host itself. They come "
        "before `WEBHOOKS_ALLOW_NETWORKS`.",
    )
    nat64_networks: Annotated[tuple[IPv6Network, ...], NoDecode] = Field(
        default=(),
        description="Prefixes of the NAT64 in the host's network, besides `64:ff9b::/96`. An address below one counts "
        "as the IPv4 address in it.",
    )
    ports: Annotated[tuple[int, ...], NoDecode] = Field(
        default=(), description="Ports that the URLs of endpoints may have, such as `443,8443`. All by default."
    )
    proxy: SecretStr | None = Field(
        default=None,
        description="A proxy that all deliveries go through, by `CONNECT`: `http://user:password@proxy.internal:3128`. "
        "The proxy then resolves names, and its rules decide which addresses are reached.",
    )
    ca_file: str | None = Field(
        default=None,
        min_length=1,
        description="A file with certificates of authorities, in PEM, that deliveries trust besides those of the "
        "system.",
    )

    public_url: str | None = Field(
        default=None,
        description="The URL at which customers reach the routes, such as `https://example.com/api/v1/webhooks`. "
        "Set it behind a proxy that strips a path prefix or changes the host. By default, requests tell the URL.",
    )
    portal_brand: str = Field(
        default="Webhooks", min_length=1, max_length=60, description="The name at the top of the portal."
    )
    portal_accent: str = Field(
        default="#4f46e5", pattern=r"^#[0-9a-fA-F]{6}$", description="The colour of the portal's buttons and links."
    )
    portal_logo: str | None = Field(
        default=None,
        description="The logo of the portal: a path of this host, an `https:` URL, or a `data:image/` URL.",
    )
    portal_frame_ancestors: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="Other origins that may show the portal in a frame, such as `https://app.example.com`."
    )

    svix_api_key: SecretStr | None = Field(
        default=None,
        validation_alias=AliasChoices("SVIX_API_KEY", "svix_api_key"),
        min_length=1,
        description="The API key of Svix. Setting it selects the Svix backend.",
    )
    svix_server_url: str | None = Field(
        default=None,
        validation_alias=AliasChoices("SVIX_SERVER_URL", "svix_server_url"),
        min_length=1,
        description="The URL of a self-hosted Svix server.",
    )
    svix_timeout: float = Field(default=15.0, gt=0, le=300, description="Seconds for one call to Svix.")
    svix_concurrency: int = Field(
        default=16,
        ge=1,
        le=64,
        description="Calls to Svix at a time, per process: as many to forward events, and as many for all others, of "
        "which one tenant gets at most half.",
    )
    svix_tenant_concurrency: int = Field(
        default=1,
        ge=1,
        le=64,
        description="Events of one tenant that are forwarded to Svix at a time. More than 1 loses their order.",
    )
    svix_memory_wait: float = Field(
        default=5.0,
        ge=0,
        le=300,
        description="Seconds that a response waits for Svix if `WEBHOOKS_DATABASE` is `:memory:`. With 0, it does not "
        "wait, and a crash loses its events.",
    )

    @property
    def database_url(self) -> DatabaseURL:
        """The parsed value of `database`."""
        return parse_database(self.database)

    @property
    def secret_keys(self) -> tuple[bytes, ...]:
        """The keys of `secret_key`. The first one signs. Empty if the setting is not set."""
        return () if self.secret_key is None else keys_of(self.secret_key)

    @property
    def encryption_keys(self) -> tuple[bytes, ...]:
        """The keys of `encryption_key`, the one that encrypts first; empty if none is given."""
        return () if self.encryption_key is None else keys_of(self.encryption_key)

    @property
    def signing_keys(self) -> tuple[SigningKey, ...]:
        """The keys of `signing_key`; empty if none is given."""
        return () if self.signing_key is None else signing_keys_of(self.signing_key.get_secret_value())

    @property
    def proxy_url(self) -> ProxyURL | None:
        """What `proxy` names."""
        return None if self.proxy is None else parse_proxy(self.proxy.get_secret_value())

    # What each accepts

    _database = field_validator("database")(check_database)
    _secret_key = field_validator("secret_key", "encryption_key")(check_keys)
    _signing_key = field_validator("signing_key")(check_signing_keys)
    _proxy = field_validator("proxy")(check_proxy)
    _ca_file = field_validator("ca_file")(check_certificates)
    _ports = field_validator("ports")(check_ports)
    _nat64 = field_validator("nat64_networks")(check_nat64)
    _parts = field_validator("retry_schedule", "portal_frame_ancestors", "ports", mode="before")(split)
    _origins = field_validator("portal_frame_ancestors")(check_origins)
    _public_url = field_validator("public_url")(check_public_url)
    _logo = field_validator("portal_logo")(check_logo)
    _networks = field_validator("allow_networks", "deny_networks", "nat64_networks", mode="before")(read_networks)
    _schedule = field_validator("retry_schedule")(check_schedule)

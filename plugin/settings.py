"""The environment: every variable is declared once, as a field of Settings, and read once. Every fault is reported at once.

A variable that holds a secret is also read from a file: `NAME_FILE` names the file that holds the value of `NAME`.
"""

import ipaddress
import os
from collections.abc import Callable
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from environs import EnvValidationError, FileAwareEnv
from marshmallow import ValidationError
from marshmallow.validate import Length, OneOf, Range, Regexp, Validator

from plugin.errors import ConfigurationError
from plugin.secret_key import SECRET_KEY_BYTES, read_or_create_secret_key

DEFAULT_PORT = 8000
_SECONDS = Range(min=0.001, max=7 * 86400, error="must be a number of seconds above 0 and at most a week")


@dataclass(frozen=True, slots=True)
class Variable:
    """An environment variable. Its type and default are those of its field.

    limits: checks a value that is given. secret: it is not printed, and may be given as NAME_FILE. default_text: how the
    documentation names a default that is worked out at the start.
    """

    name: str
    meaning: str
    limits: Validator | None = None
    secret: bool = False
    default_text: str = ""


def _variable(name: str, meaning: str, default: Any = MISSING, **options: Any) -> Any:
    variable = Variable(name, meaning, **options)
    return field(default=default, repr=not variable.secret, metadata={"variable": variable})


def variable_of(declared: "Field[Any]") -> Variable:
    """Return the environment variable of a field of Settings."""
    variable: Variable = declared.metadata["variable"]
    return variable


def _length(minimum: int) -> Length:
    return Length(min=minimum, error=f"must have at least {minimum} characters")


@dataclass(frozen=True, slots=True)
class Settings:
    """What the environment says. Times are seconds, sizes are bytes.

    Fields without a default are worked out by `load_settings` when their variable is not set. redis_url is None when
    `engage-plugin run` starts the embedded server itself.
    """

    database_url: str = _variable(
        "DATABASE_URL",
        "the database; PostgreSQL for more than one machine",
        secret=True,
        default_text="SQLite under `STATE_DIR`",
    )
    redis_url: str | None = _variable(
        "REDIS_URL",
        "the Redis server, which must have maxmemory-policy noeviction",
        secret=True,
        default_text="embedded server",
    )
    state_dir: Path = _variable(  # noqa: RUF009 - a field, as dataclasses.field() returns it
        "STATE_DIR",
        "folder of the embedded database and Redis, the cache, the files and the secret key",
        default_text="`./var`",
    )
    secret_key: str = _variable(
        "SECRET_KEY",
        "encrypts stored secrets and signs sessions; must be given with PostgreSQL",
        limits=_length(SECRET_KEY_BYTES),
        secret=True,
        default_text="made once under `STATE_DIR`",
    )
    public_url: str = _variable(
        "PUBLIC_URL",
        "the address that shops and shoppers use; https except on this machine",
        default_text="`http://127.0.0.1:PORT`",
    )
    retry_base_s: float = _variable(
        "RETRY_BASE_S",
        "an event is retried after 1, 3, 6 and 30 times this, then after pauses that grow to 360 times",
        10.0,
        limits=_SECONDS,
    )
    sweep_interval_s: float = _variable(
        "SWEEP_INTERVAL_S", "time between two searches for lost leases and due events", 15.0, limits=_SECONDS
    )
    fallback_after_s: float = _variable(
        "FALLBACK_AFTER_S", "how long Engage must be unavailable before files are written", 1800.0, limits=_SECONDS
    )
    watch_interval_s: float = _variable(
        "WATCH_INTERVAL_S", "time between two checks of a shop's webhook subscriptions", 3600.0, limits=_SECONDS
    )
    engage_rate: int = _variable(
        "ENGAGE_RATE",
        "requests a second to Engage for each API key",
        50,
        limits=Range(min=1, max=200, error="must be 1 to 200 requests a second"),
    )
    lease_s: float = _variable(
        "LEASE_S",
        "how long a worker's claim on an event lasts before the event is claimed again",
        120.0,
        limits=Range(min=5, max=3600, error="must be 5 to 3600 seconds"),
    )
    longest_restart_pause_s: float = _variable(
        "LONGEST_RESTART_PAUSE_S",
        "the longest pause before a process that ended soon after its start is restarted",
        60.0,
        limits=_SECONDS,
    )
    max_body_bytes: int = _variable(
        "MAX_BODY_BYTES",
        "the largest body of a webhook",
        5 * 1024 * 1024,
        limits=Range(min=1024, max=64 * 1024 * 1024),
    )
    delivery_threads: int = _variable(
        "DELIVERY_THREADS", "threads of a worker process", 16, limits=Range(min=1, max=64)
    )
    web_threads: int = _variable("WEB_THREADS", "threads of a web process", 16, limits=Range(min=1, max=128))
    allow_private_shops: bool = _variable(
        "ALLOW_PRIVATE_SHOPS", "whether shops may have addresses in private networks", False
    )
    metrics_token: str | None = _variable(
        "METRICS_TOKEN", "bearer token for /metrics from other machines", None, limits=_length(16), secret=True
    )
    shopify_client_id: str | None = _variable("SHOPIFY_CLIENT_ID", "id of the Shopify app that shops install", None)
    shopify_client_secret: str | None = _variable(
        "SHOPIFY_CLIENT_SECRET", "secret of the Shopify app that shops install", None, secret=True
    )
    shopify_api_version: str = _variable(
        "SHOPIFY_API_VERSION",
        "version of Shopify's API",
        "2026-07",
        limits=Regexp(r"20\d\d-(01|04|07|10)\Z", error="must be a quarter such as 2026-07"),
    )
    shopify_webhooks: str = _variable(
        "SHOPIFY_WEBHOOKS",
        "who subscribes to webhooks: the app's configuration (app), or the plugin for each shop (shop)",
        "app",
        limits=OneOf(["app", "shop"]),
    )
    log_level: str = _variable(
        "LOG_LEVEL",
        "the least severe messages that are logged",
        "INFO",
        limits=OneOf(["DEBUG", "INFO", "WARNING", "ERROR"]),
    )

    @property
    def embedded_database(self) -> bool:
        """Whether the database is the SQLite file of one machine."""
        return self.database_url.startswith("sqlite")

    @property
    def secure(self) -> bool:
        """Whether shoppers use https, so that cookies may be Secure."""
        return self.public_url.startswith("https://")

    def safe_database_url(self) -> str:
        """Return the database address without its password, for messages."""
        return _without_password(self.database_url)

    def safe_redis_url(self) -> str | None:
        """Return the address of Redis without its password, for messages; None for the embedded server."""
        return None if self.redis_url is None else _without_password(self.redis_url)


def load_settings(
    *, port: int = DEFAULT_PORT, shared_services: bool = False, in_use: Callable[[str], bool] = lambda _url: False
) -> Settings:
    """Read the environment. Raises ConfigurationError with every fault.

    port: the port in the default of PUBLIC_URL. shared_services: for one process of many machines, which must be given
    DATABASE_URL and REDIS_URL. in_use: returns whether a database holds secrets that another key encrypted; then no key is made.
    """
    unreadable = _unreadable_files()
    values, faults = _read_variables(unreadable)
    faults = [*unreadable.values(), *faults]
    if "DATABASE_URL" not in unreadable:
        faults += _database_faults(values["database_url"], shared=shared_services)
    if "REDIS_URL" not in unreadable:
        faults += _redis_faults(values["redis_url"], shared=shared_services)
    if values["public_url"] is None:
        values["public_url"] = f"http://127.0.0.1:{port}"
    faults += _public_url_faults(values["public_url"])
    if "SHOPIFY_CLIENT_SECRET" not in unreadable:
        faults += _shopify_faults(values["shopify_client_id"], values["shopify_client_secret"])
    state_dir = Path("./var" if values["state_dir"] is None else values["state_dir"]).expanduser().resolve()
    database_url = values["database_url"] or f"sqlite:///{state_dir / 'engage-plugin.sqlite'}"
    if not values["secret_key"] and not faults:
        if database_url.startswith("sqlite"):
            values["secret_key"] = read_or_create_secret_key(state_dir, lambda: in_use(database_url))
        else:
            faults.append(
                "SECRET_KEY (or SECRET_KEY_FILE) is not set. With DATABASE_URL on a server it must be given, the same on "
                "every machine, because it encrypts what is stored. Make one: "
                "python3 -c 'import secrets; print(secrets.token_urlsafe(48))'"
            )
    if faults:
        raise ConfigurationError(faults)
    values |= {"state_dir": state_dir, "database_url": database_url, "public_url": values["public_url"].rstrip("/")}
    return Settings(**values)


def _read_variables(unreadable: dict[str, str]) -> tuple[dict[str, Any], list[str]]:
    """Return the value of each field, None without a value or default, and what is wrong with the values."""
    env = FileAwareEnv(eager=False, strip_whitespace=True)
    parsers: dict[Any, Callable[..., Any]] = {float: env.float, int: env.int, bool: env.bool}
    values = {}
    for declared in fields(Settings):
        variable = variable_of(declared)
        parse = parsers.get(declared.type, env.str)
        default = None if declared.default is MISSING else declared.default
        given = variable.name not in unreadable
        values[declared.name] = parse(variable.name, default, validate=variable.limits) if given else None
    return values, _environment_faults(env)


def _without_password(url: str) -> str:
    password = urlsplit(url).password
    return url if password is None else url.replace(f":{password}@", ":***@")


def _unreadable_files() -> dict[str, str]:
    """Return the variables whose NAME_FILE is not a readable text file, each with a message."""
    faults = {}
    for name in (variable.name for variable in map(variable_of, fields(Settings)) if variable.secret):
        path = os.environ.get(f"{name}_FILE")
        try:
            if path:
                Path(path).read_text()  # as environs reads it
        except (OSError, UnicodeDecodeError):
            faults[name] = f"{name}_FILE names {path}, which is not a readable text file."
    return faults


def is_loopback_host(host: str | None) -> bool:
    """Return whether a host name or address means this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


def _environment_faults(env: FileAwareEnv) -> list[str]:
    try:
        env.seal()
    except EnvValidationError as error:
        messages = error.error_messages
        pairs = messages.items() if isinstance(messages, dict) else [("environment", messages)]
        return [f"{name}: {_text(fault)}" for name, fault in pairs]
    return []


def _text(messages: object) -> str:
    if isinstance(messages, ValidationError):
        messages = messages.messages
    return " ".join(str(message) for message in messages) if isinstance(messages, list) else str(messages)


def _database_faults(url: str | None, *, shared: bool) -> list[str]:
    if url is None:
        return ["DATABASE_URL is not set. A single process shares its database with others: give it."] if shared else []
    scheme = url.split(":", 1)[0]
    if scheme == "sqlite":
        return []
    if scheme in {"postgresql", "postgresql+psycopg", "postgres"}:
        if url.partition("?")[0].count("@") < 2:  # else the rest of the password would be taken for the server's name
            return []
        return ["DATABASE_URL has more than one @: write each @ of the password as %40."]
    return [f"DATABASE_URL begins with {scheme!r}; use sqlite:///PATH or postgresql://USER:PASSWORD@HOST/NAME."]


def _redis_faults(url: str | None, *, shared: bool) -> list[str]:
    if url is None:
        return (
            ["REDIS_URL is not set. A single process needs the Redis that the others use: give it."] if shared else []
        )
    if url.split(":", 1)[0] in {"redis", "rediss", "unix"}:
        return []
    return ["REDIS_URL must begin with redis://, rediss:// or unix://."]


def _shopify_faults(client_id: str | None, client_secret: str | None) -> list[str]:
    if bool(client_id) == bool(client_secret):
        return []
    missing, given = ("SECRET", "ID") if client_id else ("ID", "SECRET")
    return [f"SHOPIFY_CLIENT_{given} is set, SHOPIFY_CLIENT_{missing} is not: give both of the app, or neither."]


def _public_url_faults(url: str) -> list[str]:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        return [f"PUBLIC_URL is {url!r}; give the address under which shops reach the plugin: https://HOST."]
    if parts.scheme == "http" and not is_loopback_host(parts.hostname):
        return [
            "PUBLIC_URL is plain http; outside of this machine it must be https, because cookies and tokens travel there."
        ]
    if parts.query or parts.fragment:
        return ["PUBLIC_URL must not hold a query or a fragment."]
    return []

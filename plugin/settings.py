"""The environment, read once. Every fault is reported at once, and nonsense is refused.

Secrets are also read from files: `NAME_FILE` names a file that holds the value of `NAME`.
"""

import contextlib
import ipaddress
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from environs import EnvValidationError, FileAwareEnv
from marshmallow import ValidationError
from marshmallow.validate import Length, OneOf, Range, Regexp

from plugin.errors import ConfigurationError

SECRET_KEY_BYTES = 32
DEFAULT_PORT = 8000
#: Settings that may stand in a file: NAME_FILE instead of NAME.
FROM_FILES = ("DATABASE_URL", "REDIS_URL", "SECRET_KEY", "METRICS_TOKEN", "SHOPIFY_CLIENT_SECRET")


@dataclass(frozen=True, slots=True)
class Settings:
    """What the environment says. Times are seconds, sizes are bytes.

    redis_url: None means the embedded server that `engage-plugin run` starts itself.
    secret_key: encrypts secrets at rest and signs sessions; at least 32 characters.
    """

    database_url: str
    redis_url: str | None
    state_dir: Path
    secret_key: str = field(repr=False)
    public_url: str
    retry_base_s: float = 10.0
    sweep_interval_s: float = 15.0
    fallback_after_s: float = 1800.0
    watch_interval_s: float = 3600.0
    engage_rate: int = 50
    lease_s: float = 120.0
    longest_restart_pause_s: float = 60.0
    max_body_bytes: int = 5 * 1024 * 1024
    delivery_threads: int = 16
    web_threads: int = 16
    allow_private_shops: bool = False
    metrics_token: str | None = field(default=None, repr=False)
    shopify_client_id: str | None = None
    shopify_client_secret: str | None = field(default=None, repr=False)
    shopify_api_version: str = "2026-07"
    shopify_webhooks: str = "app"
    log_level: str = "INFO"

    @property
    def embedded_database(self) -> bool:
        """Whether the database is the SQLite file of one machine."""
        return self.database_url.startswith("sqlite")

    @property
    def secure(self) -> bool:
        """Whether shoppers reach us over https, so that cookies may be Secure."""
        return self.public_url.startswith("https://")

    def safe_database_url(self) -> str:
        """Return the database address without its password, for messages."""
        return _without_password(self.database_url)

    def safe_redis_url(self) -> str | None:
        """Return the address of Redis without its password, for messages; None for the embedded one."""
        return None if self.redis_url is None else _without_password(self.redis_url)


def load_settings(
    *, port: int = DEFAULT_PORT, shared_services: bool = False, in_use: Callable[[str], bool] = lambda _url: False
) -> Settings:
    """Read the environment.

    port: what PUBLIC_URL falls back on. shared_services: for one process of many machines, where DATABASE_URL
    and REDIS_URL must be given. in_use: tells whether a database holds what another key sealed; then none is made.
    Raises ConfigurationError with every fault.
    """
    unreadable = _unreadable_files()
    env = FileAwareEnv(eager=False, strip_whitespace=True)

    def secret(name: str, least: int = 0) -> Any:
        enough = Length(min=least, error=f"must have at least {least} characters")
        return None if name in unreadable else env.str(name, None, validate=enough)

    positive = Range(min=0.001, max=7 * 86400, error="must be a number of seconds above 0 and at most a week")
    state_dir = Path(env.str("STATE_DIR", "./var")).expanduser().resolve()
    values: dict[str, Any] = {
        "database_url": secret("DATABASE_URL"),
        "redis_url": secret("REDIS_URL"),
        "secret_key": secret("SECRET_KEY", 32),
        "public_url": env.str("PUBLIC_URL", f"http://127.0.0.1:{port}"),
        "retry_base_s": env.float("RETRY_BASE_S", 10.0, validate=positive),
        "sweep_interval_s": env.float("SWEEP_INTERVAL_S", 15.0, validate=positive),
        "fallback_after_s": env.float("FALLBACK_AFTER_S", 1800.0, validate=positive),
        "watch_interval_s": env.float("WATCH_INTERVAL_S", 3600.0, validate=positive),
        "engage_rate": env.int(
            "ENGAGE_RATE", 50, validate=Range(min=1, max=200, error="must be 1 to 200 requests a second")
        ),
        "lease_s": env.float("LEASE_S", 120.0, validate=Range(min=5, max=3600, error="must be 5 to 3600 seconds")),
        "longest_restart_pause_s": env.float("LONGEST_RESTART_PAUSE_S", 60.0, validate=positive),
        "max_body_bytes": env.int("MAX_BODY_BYTES", 5 * 1024 * 1024, validate=Range(min=1024, max=64 * 1024 * 1024)),
        "delivery_threads": env.int("DELIVERY_THREADS", 16, validate=Range(min=1, max=64)),
        "web_threads": env.int("WEB_THREADS", 16, validate=Range(min=1, max=128)),
        "allow_private_shops": env.bool("ALLOW_PRIVATE_SHOPS", False),
        "metrics_token": secret("METRICS_TOKEN", 16),
        "shopify_client_id": env.str("SHOPIFY_CLIENT_ID", None),
        "shopify_client_secret": secret("SHOPIFY_CLIENT_SECRET"),
        "shopify_api_version": env.str(
            "SHOPIFY_API_VERSION",
            "2026-07",
            validate=Regexp(r"20\d\d-(01|04|07|10)\Z", error="must be a quarter such as 2026-07"),
        ),
        "shopify_webhooks": env.str("SHOPIFY_WEBHOOKS", "app", validate=OneOf(["app", "shop"])),
        "log_level": env.str("LOG_LEVEL", "INFO", validate=OneOf(["DEBUG", "INFO", "WARNING", "ERROR"])),
    }
    faults = [*unreadable.values(), *_environment_faults(env)]
    if "DATABASE_URL" not in unreadable:
        faults += _database_faults(values["database_url"], shared=shared_services)
    if "REDIS_URL" not in unreadable:
        faults += _redis_faults(values["redis_url"], shared=shared_services)
    faults += _public_url_faults(values["public_url"])
    if "SHOPIFY_CLIENT_SECRET" not in unreadable:
        faults += _shopify_faults(values["shopify_client_id"], values["shopify_client_secret"])
    database_url = values["database_url"] or f"sqlite:///{state_dir / 'engage-plugin.sqlite'}"
    if not values["secret_key"] and not faults:
        if database_url.startswith("sqlite"):
            values["secret_key"] = _kept_secret_key(state_dir, lambda: in_use(database_url))
        else:
            faults.append(
                "SECRET_KEY (or SECRET_KEY_FILE) is not set. With DATABASE_URL on a server it must be given, the same on "
                "every machine, because it encrypts what is stored. Make one: "
                "python3 -c 'import secrets; print(secrets.token_urlsafe(48))'"
            )
    if faults:
        raise ConfigurationError(faults)
    values["database_url"] = database_url
    values["public_url"] = str(values["public_url"]).rstrip("/")
    return Settings(state_dir=state_dir, **values)


def _without_password(url: str) -> str:
    password = urlsplit(url).password
    return url if password is None else url.replace(f":{password}@", ":***@")


def _unreadable_files() -> dict[str, str]:
    """Return the settings whose NAME_FILE names no readable file, each with its fault."""
    faults = {}
    for name in FROM_FILES:
        path = os.environ.get(f"{name}_FILE")
        try:
            if path:
                Path(path).read_text()  # as environs reads it
        except (OSError, UnicodeDecodeError):
            faults[name] = f"{name}_FILE names {path}, which is no readable text file."
    return faults


def is_loopback_host(host: str | None) -> bool:
    """Tell whether a host name means this machine."""
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
        found = error.error_messages
        pairs = found.items() if isinstance(found, dict) else [("environment", found)]
        return [f"{name}: {_text(messages)}" for name, messages in pairs]
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


def _kept_secret_key(state_dir: Path, in_use: Callable[[], bool]) -> str:
    """Read the key that was made at the first start, or make it. Raises ConfigurationError."""
    path = state_dir / "secret-key"
    try:
        state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not path.exists():
            if in_use():
                raise ConfigurationError([_key_is_missing(path)])
            _place_new_key(path)
        key = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            [
                f"STATE_DIR {state_dir} cannot keep the secret key ({error.strerror if isinstance(error, OSError) else 'not text'}); "
                "make it a writable folder or set SECRET_KEY."
            ]
        ) from error
    if len(key) < SECRET_KEY_BYTES:
        raise ConfigurationError([f"{path} holds a key that is too short; restore it from a backup or set SECRET_KEY."])
    return key


def _key_is_missing(path: Path) -> str:
    return (
        f"SECRET_KEY is not set and {path} does not exist, but the database holds shops, whose secrets need the key they were "
        "stored with: set that SECRET_KEY, in every terminal, or bring the file back from a backup."
    )


def _place_new_key(path: Path) -> None:
    """Write a new key whole and give it its name in one step; the first of several processes wins."""
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    draft.touch(mode=0o600)
    try:
        draft.write_text(secrets.token_urlsafe(SECRET_KEY_BYTES), encoding="ascii")
        with contextlib.suppress(FileExistsError):  # a process that starts beside this one was first
            os.link(draft, path)
    finally:
        draft.unlink()

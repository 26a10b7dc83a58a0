"""Checks of this machine: manifest, database, Redis and the inbox's balance."""

from typing import cast

from redis import RedisError
from sqlalchemy.exc import SQLAlchemyError

from plugin.app import Services
from plugin.commands.common import what_failed_in_redis
from plugin.commands.doctor.check import Check
from plugin.errors import ConfigurationError
from plugin.store.database.errors import describe_database_error


def check_manifest(services: Services) -> Check:
    """Check the plugin's manifest."""
    try:
        return Check(f"manifest, version {services.manifest.version}", "ok")
    except ConfigurationError as error:
        return Check("manifest", "fault", str(error))


def check_database(services: Services) -> Check:
    """Check that the database answers and has the current schema."""
    what = f"database {services.settings.safe_database_url()}"
    try:
        services.database.check_schema()
    except ConfigurationError as error:
        return Check(what, "fault", " ".join(error.faults))
    except SQLAlchemyError as error:
        return Check(
            what, "fault", f"It does not answer ({describe_database_error(error)}): check DATABASE_URL and the server."
        )
    return Check(what, "ok")


def check_redis(services: Services) -> Check:
    """Check that Redis answers and never evicts keys."""
    address = services.settings.safe_redis_url()
    what = f"Redis {address}" if address else "embedded Redis"
    try:
        policy = cast("dict[str, str]", services.redis.config_get("maxmemory-policy"))
    except RedisError as error:
        todo = "check REDIS_URL and the server" if address else "start `engage-plugin run`"
        message = f"It does not answer ({what_failed_in_redis(error)}): {todo}."
        return Check(what, "fault" if address else "warning", message)
    if policy.get("maxmemory-policy") != "noeviction":
        return Check(
            what, "fault", "Set maxmemory-policy to noeviction: evicting would drop wake-ups and cached rates."
        )
    return Check(what, "ok")


def check_balance(services: Services) -> Check:
    """Check that each accepted event is in a state, and that none is parked."""
    counts = services.event_admin.status()
    missing = counts["accepted"] - sum(number for state, number in counts.items() if state != "accepted")
    if missing:
        return Check(
            "balance", "fault", f"{missing} accepted events are in no state: compare with a backup of the database."
        )
    if counts["parked"]:
        return Check(
            "balance", "warning", f"{counts['parked']} events are parked: engage-plugin events list --state parked."
        )
    return Check(f"balance, {counts['accepted']} events accepted", "ok")

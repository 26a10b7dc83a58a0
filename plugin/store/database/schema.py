"""The schema's revision and its migrations."""

from pathlib import Path
from typing import TYPE_CHECKING

from plugin.errors import ConfigurationError

if TYPE_CHECKING:
    from alembic.config import Config


MIGRATIONS = Path(__file__).parent / "migrations"
#: The newest of the migrations. Repeated here, because Alembic, which knows it, takes 8 MB of each process that asks it.
REVISION = "0018"


def refuse_newer(found: str | None) -> None:
    if found is not None and not list((MIGRATIONS / "versions").glob(f"{found}_*.py")):
        raise ConfigurationError(
            [
                f"The database is from a newer version of the plugin (its schema is at {found}, this version knows {REVISION}): "
                "install that version."
            ]
        )


def alembic_config() -> "Config":
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return config

"""The settings of the variant that the environment names."""

import os
from pathlib import Path

from testproject.settings import database

from .variants import settings_of

globals().update(
    settings_of(
        os.environ["VARIANT"],
        database(os.environ["DATABASE_URL"]),
        os.environ.get("OTHER_DATABASE", ""),
        Path(os.environ["VARIANT_DIRECTORY"]),
    )
)

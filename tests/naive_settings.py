"""For the processes of a project that has its clocks show the time of one place."""

from tests.worker_settings import *  # noqa: F403

USE_TZ = False
TIME_ZONE = "Asia/Kathmandu"

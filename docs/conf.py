"""How Sphinx builds this documentation: ``make docs``."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent / "_ext"), str(Path(__file__).parents[1])]

from django_tasks_q import __version__  # noqa: E402 - found by the path above

project = "django-tasks-q"
author = "django-tasks-q contributors"
project_copyright = f"2026, {author}"
release = version = __version__

extensions = ["myst_parser", "job_states"]
exclude_patterns = ["_build", "_ext"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
nitpicky = True

html_theme = "furo"
html_title = f"django-tasks-q {release}"
html_copy_source = False

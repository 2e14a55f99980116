"""
What the site is told: it reads this file by way of IHATEMONEY_SETTINGS_FILE_PATH.

Secrets, and what differs from host to host, come from the environment: see ../env.example.
"""

import os

from sqlalchemy.pool import NullPool  # type: ignore[import-not-found,import-untyped,unused-ignore]

SITE_NAME = "The household budget"
SECRET_KEY = os.environ["SECRET_KEY"]
SESSION_COOKIE_SECURE = os.environ.get("SESSION_COOKIE_SECURE", "yes") == "yes"
ACTIVATE_DEMO_PROJECT = False

SQLALCHEMY_DATABASE_URI = os.environ["DATABASE_URL"]
# gunicorn loads the site before it forks its workers: no connection may be left open by then.
SQLALCHEMY_ENGINE_OPTIONS = {"poolclass": NullPool}

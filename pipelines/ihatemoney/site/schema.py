"""
The application's database for `flask db`, and nothing else of the application.

`ihatemoney db` would do too, but for one thing: it builds the site first, and `create_app()`
brings the database up to date by itself. With it even `ihatemoney db current` migrates, and a
downgrade begins with an upgrade. Here each command does what it says.
"""

from pathlib import Path

from flask import Flask  # type: ignore[import-not-found,import-untyped,unused-ignore]
from flask_migrate import Migrate  # type: ignore[import-not-found,import-untyped,unused-ignore]
from ihatemoney.models import db  # type: ignore[import-not-found,import-untyped,unused-ignore]

app = Flask("ihatemoney")
app.config.from_pyfile(str(Path(__file__).with_name("settings.py")))
db.init_app(app)
Migrate(app, db)

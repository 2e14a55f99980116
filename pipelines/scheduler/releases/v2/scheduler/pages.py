"""The pages, as HTML."""

from collections.abc import Iterable, Mapping
from html import escape

from scheduler.models import NETWORKS, Account, Post

FRAME = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>{title} · Scheduler</title></head>
<body>
<nav>
<a href="/posts">Posts</a> <a href="/accounts">Accounts</a> <a href="/overview">Overview</a>
</nav>
<h1>{title}</h1>
{content}
</body>
</html>
"""

ACCOUNT_FORM = """<form method="post" action="/accounts">
<label>Name <input name="name" required maxlength="80"></label>
<button>Add the account</button>
</form>"""

POST_FORM = """<form method="post" action="/posts">
<label>Account <select name="account">{accounts}</select></label>
<label>Title <input name="title" required></label>
<label>Text <textarea name="text"></textarea></label>
<fieldset><legend>Networks</legend>{networks}</fieldset>
<label>Due (UTC) <input name="due_at" type="datetime-local" required></label>
<button>Schedule the post</button>
</form>"""


def frame(title: str, content: str) -> str:
    """Put *content*, which is HTML, under a *title*, which is text."""
    return FRAME.format(title=escape(title), content=content)


def accounts_page(accounts: Iterable[Account]) -> str:
    """Show the accounts, and the form for another one."""
    items = "\n".join(f"<li>{escape(account.name)}</li>" for account in accounts)
    return frame("Accounts", f"<ul>\n{items}\n</ul>\n{ACCOUNT_FORM}")


def posts_page(posts: Iterable[Post], accounts: Iterable[Account]) -> str:
    """Show the posts, and the form for another one."""
    rows = "\n".join(_post_row(post) for post in posts)
    options = "".join(f'<option value="{one.id}">{escape(one.name)}</option>' for one in accounts)
    boxes = "".join(
        f'<label><input type="checkbox" name="networks" value="{name}"> {name}</label>'
        for name in NETWORKS
    )
    form = POST_FORM.format(accounts=options, networks=boxes)
    return frame("Posts", f"<table>\n{rows}\n</table>\n{form}")


def overview_page(waiting: Mapping[str, int]) -> str:
    """Show how many posts wait for each network."""
    items = "\n".join(f"<li>{name}: {waiting.get(name, 0)} waiting</li>" for name in NETWORKS)
    return frame("Overview", f"<ul>\n{items}\n</ul>")


def _post_row(post: Post) -> str:
    state = f"published {post.published_at}" if post.published_at else f"due {post.due_at}"
    cells = (post.account, post.title, post.text or "", ", ".join(post.networks), state)
    return "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"

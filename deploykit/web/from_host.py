"""Fetching a page from a host itself, by curl, python3 or wget, whichever is there."""

from __future__ import annotations

import re

from deploykit.command import Result
from deploykit.shell import fill
from deploykit.stage import Reader
from deploykit.web.answer import Answer, Limits

__all__ = ["fetch", "has_tool"]

NO_TOOL = 97
MARGIN = 30.0  # seconds that the query may take beyond the page's own limit
TOOL = f"""
for dk_tool in curl python3 wget none; do command -v "$dk_tool" >/dev/null && break; done
[ "$dk_tool" != none ] || exit {NO_TOOL}
"""

# The body goes to standard output, cut by `head`, because curl's own limit does not hold for a body
# of unknown length; what is known about it goes to standard error, a line a fact.
_FETCH = """
exec 3>&2
{{
  case $dk_tool in
  curl)
    curl -q -s -L --max-redirs {redirects} --max-time {seconds} {header} {url} -o /dev/fd/4 \\
      -w 'dk-status=%{{http_code}}\\ndk-redirects=%{{num_redirects}}\\n' 4>&1 >&3 2>/dev/null ;;
  python3) python3 -c {python} {url} {seconds} {redirects} {host} 2>&3 ;;
  wget) # GNU's knows how to do as asked; busybox's follows what it likes
    dk_more=
    if wget --version >/dev/null 2>&1; then
      dk_more={gnu_options}
    fi
    timeout {whole_seconds} wget -q -S -O - $dk_more {header_wget} {url} 2>&3 ;;
  esac
  echo "dk-exit=$?" >&3
}} | head -c {bytes}
echo "dk-tool=$dk_tool" >&3
"""

# It ends with curl's exit codes.
_PYTHON = """
import http.client, os, signal, ssl, sys, urllib.error, urllib.request
url, seconds, limit, host = sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
signal.signal(signal.SIGALRM, lambda *_: os._exit(28))
signal.setitimer(signal.ITIMER_REAL, seconds)
count = 0
class Redirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args):
        global count
        if not limit:
            return None
        count += 1
        if count > limit:
            os._exit(47)
        return super().redirect_request(*args)
    max_redirections = max_repeats = limit + 2
request = urllib.request.Request(url, headers={"Host": host} if host else {})
try:
    answer = urllib.request.build_opener(Redirects).open(request)
except urllib.error.HTTPError as error:
    answer = error
except urllib.error.URLError as error:
    sys.exit(60 if isinstance(error.reason, ssl.SSLError) else 7)
except (OSError, http.client.HTTPException):
    sys.exit(52)
print(f"dk-status={answer.status}\\ndk-redirects={count}", file=sys.stderr, flush=True)
try:
    while piece := answer.read1(65536):
        sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
except BrokenPipeError:
    os._exit(23)
except (OSError, http.client.HTTPException):
    os._exit(18)
"""

CUT, TOO_LONG, TOO_MANY_REDIRECTS = 23, 28, 47
SIGPIPE = 141  # how wget ends when `head` has read enough
PROBLEMS = {
    3: "the URL cannot be used",
    6: "its name cannot be resolved",
    7: "nothing answers there: the connection was refused or failed",
    18: "the answer broke off",
    35: "no TLS connection could be made",
    52: "the server closed the connection without an answer",
    56: "the connection was lost",
    60: "its TLS certificate cannot be verified",
}
FINAL = (3, TOO_MANY_REDIRECTS, 60)  # not what a service does that is merely starting
WGET = {4: 7, 5: 60, 7: 52, 124: 28}  # its exit codes, and `timeout`'s, as curl's
WGET_STATUS = 8  # a status that is an error, which for us is an answer


def has_tool(host: Reader) -> bool:
    """Return whether *host* has a program that can fetch a page."""
    return host.query(TOOL, check=False).ok


def fetch(host: Reader, url: str, limits: Limits, header_host: str = "") -> Answer:
    """
    Fetch *url* from *host*.

    Args:
        host: where from.
        url: http or https; TLS is verified.
        limits: where it stops.
        header_host: the `Host` header, if it is not what stands in *url*.
    """
    header = f"Host: {header_host}"
    script = TOOL + fill(
        _FETCH,
        url=url,
        seconds=limits.max_seconds,
        whole_seconds=max(1, round(limits.max_seconds)),
        redirects=limits.redirects,
        bytes=limits.max_bytes + 1,
        host=header_host,
        header=["-H", header] if header_host else [],
        gnu_options=f"--tries=1 --content-on-error --max-redirect={limits.redirects}",
        header_wget=["--header", header] if header_host else [],
        python=_PYTHON,
    )
    done = host.query(script, timeout=limits.max_seconds + MARGIN, check=False)
    if done.exit_code == NO_TOOL:
        return Answer(problem="the host has neither curl nor python3 nor wget", final=True)
    return _answer(done, limits)


def _answer(done: Result, limits: Limits) -> Answer:
    status, redirects = _facts(done.errors, limits)
    body = done.output.encode()
    code = int((re.findall(r"^dk-exit=(\d+)$", done.errors, re.MULTILINE) or ["7"])[-1])
    if "dk-tool=wget" in done.errors.splitlines():
        code = 0 if code == WGET_STATUS and status else WGET.get(code, code)
    # Characters, since bytes that are no text grow when they are decoded.
    if len(done.output) > limits.max_bytes or code in (CUT, SIGPIPE):
        problem, final = f"the page is larger than {limits.max_bytes} bytes", True
    elif code == TOO_LONG:
        problem, final = f"no whole answer within {limits.max_seconds:g} s", False
    elif limits.redirects and (
        code == TOO_MANY_REDIRECTS or _still_away(status, redirects, limits)
    ):
        problem, final = f"more than {limits.redirects} redirects", True
    elif code in (0, TOO_MANY_REDIRECTS):
        problem, final = "", False
    else:
        problem = PROBLEMS.get(code, f"it cannot be fetched (curl's exit code {code})")
        final = code in FINAL
    return Answer(status, body[: limits.max_bytes], done.seconds, redirects, problem, final)


def _still_away(status: int, redirects: int, limits: Limits) -> bool:
    """Return whether wget stopped at a redirect because it had followed enough of them."""
    return redirects >= limits.redirects and status // 100 == 3


def _facts(errors: str, limits: Limits) -> tuple[int, int]:
    """Return status and number of redirects, from our own lines or from wget's headers."""
    ours = re.findall(r"^dk-status=(\d+)$", errors, re.MULTILINE)
    count = re.findall(r"^dk-redirects=(\d+)$", errors, re.MULTILINE)
    seen = re.findall(r"^\s*HTTP/[\d.]+ (\d{3})", errors, re.MULTILINE)
    if ours:
        return int(ours[-1]), int(count[-1]) if count else 0
    if not seen:
        return 0, 0
    return int(seen[-1] if limits.redirects else seen[0]), len(seen) - 1

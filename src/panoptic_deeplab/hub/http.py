"""One request for a file or the rest of one, with every failure as a sentence.

By the standard library alone, see docs/decisions/0016-downloads.md. Only http and https are spoken,
redirects are few, and none leads from https back to http.
"""

from http.client import HTTPException, HTTPResponse
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urljoin, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from panoptic_deeplab.version import __version__

TIMEOUT_SECONDS = 30.0
"""Of silence, at the start and between two pieces."""

MAX_REDIRECTS = 5

RANGE_REFUSED = 416
"""The server has no bytes from there on."""

_LATER = (408, 429, 500, 502, 503, 504)
"""Answers after which another try is worth it."""


_KEPT = "%/:?#[]@!$&'()*+,;=~"
"""Characters with a meaning in an address; others are written as %XX."""


class Interrupted(ConnectionError):
    """The transfer broke off or could not start; trying again may help."""


class RangeRefused(Exception):
    """The part that is here does not fit the file on the server."""


def check_address(url: str) -> None:
    """Refuse what is no web address.

    Raises:
        ValueError: if it is not http or https, names no host, or holds a password.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises where it is no number
    except ValueError as error:
        raise ValueError(f"The address {url!r} cannot be read ({error}). Check it.") from None
    if parts.scheme not in ("http", "https"):
        raise ValueError(
            f"Expected an address that begins with https:// or http://, got {url!r}. For a file "
            "on this machine pass its path."
        )
    if not parts.hostname:
        raise ValueError(f"The address {url!r} names no host. Check it.")
    if parts.username is not None:
        raise ValueError(
            f"An address at {parts.hostname} came with a user's name. Passwords in addresses end "
            "up in logs; get the file with a browser and pass its path."
        )


def ask(url: str, *, start: int = 0, same_as: str = "") -> HTTPResponse:
    """Ask for a file, or for the rest of it.

    Args:
        url: of the file.
        start: bytes that are here already.
        same_as: ETag or date of the file the part came from; if it has changed, the whole new
            file is sent instead of its rest.

    Returns:
        The open answer: status 206 if it starts at `start`, else 200.

    Raises:
        FileNotFoundError: if the server has no such file.
        PermissionError: if it wants to know who asks.
        Interrupted: if it could not be reached or is in trouble.
        RangeRefused: if it has nothing from `start` on.
        ValueError: for addresses that are not http or https, after a redirect too.
    """
    check_address(url)
    headers = {"User-Agent": f"panoptic-deeplab/{__version__}", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
        if same_as:
            headers["If-Range"] = same_as
    host = urlsplit(url).netloc
    try:
        answer: HTTPResponse = build_opener(_Redirects).open(
            Request(quote(url, safe=_KEPT), headers=headers), timeout=TIMEOUT_SECONDS
        )
    except HTTPError as error:
        raise _refusal(url, error) from None
    except TimeoutError:
        raise Interrupted(f"{host} has not answered for {TIMEOUT_SECONDS:g} seconds") from None
    except (URLError, OSError, HTTPException) as error:
        raise Interrupted(f"{host} cannot be reached ({_reason(error)})") from None
    return answer


def read(answer: HTTPResponse, size: int) -> bytes:
    """What has come, at least a byte and at most `size`; empty at the end.

    Raises:
        Interrupted: if the connection broke or fell silent.
    """
    try:
        return answer.read1(size)
    except TimeoutError:
        raise Interrupted(f"nothing came for {TIMEOUT_SECONDS:g} seconds") from None
    except (OSError, HTTPException) as error:
        raise Interrupted(f"the connection broke ({_reason(error)})") from None


class _Redirects(HTTPRedirectHandler):
    max_redirections = MAX_REDIRECTS

    def redirect_request(
        self, req: Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Request | None:
        check_address(newurl)
        if req.type == "https" and urlsplit(newurl).scheme != "https":
            raise ValueError(
                f"{req.full_url} leads to {newurl}, from https to plain http. It is not followed; "
                "if you trust it, pass that address itself."
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _refusal(url: str, error: HTTPError) -> Exception:
    code = error.code
    if code == RANGE_REFUSED:
        return RangeRefused()
    if code in (404, 410):
        return FileNotFoundError(f"There is no file at {url} (HTTP {code}). Check the address.")
    if code in (401, 403):
        return PermissionError(
            f"{url} is not open to everyone (HTTP {code}). Get it with a browser and pass its path."
        )
    if code in (301, 302, 303, 307, 308):
        check_address(urljoin(error.url, error.headers.get("Location", "")))
        return ValueError(
            f"{url} leads on more than {MAX_REDIRECTS} times, or in a circle. Pass the final "
            "address."
        )
    if code in _LATER:
        return Interrupted(f"the server answered HTTP {code}")
    return ValueError(f"{url} cannot be fetched: the server answered HTTP {code}.")


def _reason(error: BaseException) -> str:
    words = str(getattr(error, "reason", None) or error) or type(error).__name__
    return " ".join(words.split())[:200]  # a server's words may stand in it

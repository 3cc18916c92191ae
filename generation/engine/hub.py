"""What a model hub says about a repository, over its public URLs. Imports no torch.

Three are used: which commit a revision is, what files a commit has (with sizes and hashes), and a file's bytes from an
offset. The hub's own library keeps no partial file from one run to the next and compares sizes only, so that a download
that was cut begins anew and a wrong byte goes unnoticed; a checkpoint of 40 GB deserves better.
"""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException, HTTPMessage
from typing import IO, Any

from generation.engine.errors import EngineError

PUBLIC_HUB = "https://huggingface.co"
_TIMEOUT_S = 30.0
_MAX_PAGES = 100  # of a list, each with a thousand files
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_NEXT = re.compile(r'<([^>]+)>\s*;\s*rel="next"')


class FetchError(EngineError):
    """A download cannot go on; the message says why and what to do."""


class Cut(EngineError):
    """The connection broke or the hub is busy: the same again from where it stopped may do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HubFile:
    """One file of a commit. Large ones have their SHA-256; small ones git's id of the bytes (`blob`, SHA-1)."""

    path: str
    size: int
    sha256: str | None = None
    blob: str | None = None


class Hub:
    """One hub, by its address. The token goes to that address only, not to where it sends us."""

    def __init__(self, base: str = PUBLIC_HUB, *, token: str = "", timeout_s: float = _TIMEOUT_S) -> None:
        address = urllib.parse.urlsplit(base)
        if address.scheme not in ("http", "https") or not address.netloc:
            raise FetchError(f"{base!r} is no address of a hub; it begins with https://")
        self.base = base.rstrip("/")
        self._headers = {"User-Agent": "QwenStudio", "Accept-Encoding": "identity"}
        self._token = token
        self._timeout_s = timeout_s
        self._opener = urllib.request.build_opener(_Redirects)

    def find_commit(self, repo: str, revision: str) -> str:
        """The commit that a branch, tag or commit names. Raises FetchError, Cut."""
        answer = self._get_json(f"/api/models/{_quote(repo)}/revision/{_quote(revision, safe='')}", what=repo)
        commit = answer.get("sha") if isinstance(answer, dict) else None
        if not isinstance(commit, str) or not _COMMIT.fullmatch(commit):
            raise FetchError(f"{self.base} names no commit for {repo} at {revision}; is that the address of a hub?")
        return commit

    def list_files(self, repo: str, commit: str) -> list[HubFile]:
        """Every file of a commit. Raises FetchError, Cut."""
        url = f"{self.base}/api/models/{_quote(repo)}/tree/{commit}?recursive=true"
        files: dict[str, HubFile] = {}
        seen: set[str] = set()
        while url:
            if url in seen or len(seen) == _MAX_PAGES:
                raise FetchError(f"{self.base} lists the files of {repo} without an end")
            seen.add(url)
            with self._open(url, what=repo) as response:
                entries = _parse(response, url)
                following = _NEXT.search(response.headers.get("Link") or "")
            if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
                raise FetchError(f"{url} lists no files")
            for file in (_read_file(entry) for entry in entries if entry.get("type") == "file"):
                if file.path in files:
                    raise FetchError(f"{self.base} lists {file.path} twice")
                files[file.path] = file
            url = self._follow(url, following[1]) if following else ""
        return list(files.values())

    def open_file(self, repo: str, commit: str, file: HubFile, *, offset: int) -> tuple[int, Any]:
        """The bytes of a file from `offset` on, if the hub can: (where they begin, an open response).

        Raises FetchError when the answer is another file's, Cut when the connection breaks.
        """
        url = f"{self.base}/{_quote(repo)}/resolve/{commit}/{_quote(file.path)}"
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        response = self._open(url, what=file.path, headers=headers)
        if response.status != 206:
            return 0, response  # ranges are not for everybody: from the beginning, then
        wanted = f"bytes {offset}-{file.size - 1}/{file.size}"
        if response.headers.get("Content-Range") != wanted:
            response.close()
            raise FetchError(f"{file.path}: the hub answers with {response.headers.get('Content-Range')!r}")
        return offset, response

    def _follow(self, url: str, link: str) -> str:
        """Where the rest of a list is: on this very hub, or the token would go elsewhere, or in the clear."""
        try:
            found = urllib.parse.urljoin(url, link)
            place, base = urllib.parse.urlsplit(found), urllib.parse.urlsplit(self.base)
        except ValueError as error:
            raise FetchError(f"{self.base} names no address where the rest of its list is") from error
        if (place.scheme, place.netloc) != (base.scheme, base.netloc):
            raise FetchError(f"{self.base} sends the rest of its list to another host: {found[:200]!r}")
        return found

    def _get_json(self, path: str, *, what: str) -> Any:
        with self._open(self.base + path, what=what) as response:
            return _parse(response, path)

    def _open(self, url: str, *, what: str, headers: Mapping[str, str] | None = None) -> Any:
        request = urllib.request.Request(url, headers={**self._headers, **(headers or {})})  # noqa: S310 (http only)
        if self._token:
            request.add_unredirected_header("Authorization", f"Bearer {self._token}")
        try:
            return self._opener.open(request, timeout=self._timeout_s)
        except urllib.error.HTTPError as error:
            error.close()
            raise _explain(error.code, what) from error
        except (OSError, HTTPException) as error:
            raise Cut(f"{what}: {error}") from error
        except ValueError as error:  # of urllib, about a redirect
            raise FetchError(f"{what}: the hub sends us to no address at all") from error


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows to http and https only; headers that are not for others are left behind by urllib itself."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        if urllib.parse.urlsplit(newurl).scheme not in ("http", "https"):
            raise FetchError(f"the hub sends us to {newurl[:80]!r}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _explain(status: int, what: str) -> Exception:
    if status == 404:
        return FetchError(f"{what}: the hub has no such repository, revision or file; check the spelling")
    if status in (401, 403):
        return FetchError(f"{what}: the hub wants an account that may read it; set HF_TOKEN")
    if status in (408, 429) or status >= 500:
        return Cut(f"{what}: the hub answers {status}")
    return FetchError(f"{what}: the hub answers {status}")


def _read_file(entry: Mapping[str, Any]) -> HubFile:
    """One entry of the tree listing. Raises FetchError for one that cannot be stored or checked."""
    path, size, large = entry.get("path"), entry.get("size"), entry.get("lfs")
    if isinstance(large, dict):
        size = large.get("size", size)
    if not isinstance(path, str) or type(size) is not int or size < 0:
        raise FetchError(f"the hub lists a file without name or size: {str(entry)[:120]!r}")
    # What is not printable has nothing to do in a name, and a terminal would obey some of it.
    if any(part in ("", ".", "..") for part in path.split("/")) or "\\" in path or not path.isprintable():
        raise FetchError(f"the hub lists a file outside its folder: {path[:120]!r}")
    if isinstance(large, dict):
        sha256 = str(large.get("oid", "")).removeprefix("sha256:")
        if not _SHA256.fullmatch(sha256):
            raise FetchError(f"{path}: the hub says no SHA-256")
        return HubFile(path=path, size=size, sha256=sha256)
    blob = entry.get("oid")
    if not isinstance(blob, str) or not _COMMIT.fullmatch(blob):
        raise FetchError(f"{path}: the hub says no hash")
    return HubFile(path=path, size=size, blob=blob)


def _parse(response: Any, url: str) -> Any:
    try:
        return json.loads(response.read(64 * 2**20))
    except (OSError, HTTPException) as error:
        raise Cut(f"{url}: {error}") from error
    except (ValueError, RecursionError) as error:
        raise FetchError(f"{url} answers no JSON; is that the address of a hub?") from error


def _quote(text: str, *, safe: str = "/") -> str:
    return urllib.parse.quote(text, safe=safe)

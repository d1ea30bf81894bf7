"""The broken links of a site: mostly waiting, so the handler is async and waits for several at once.

A site that is down for a moment costs an attempt, not the job: up to three more follow.
"""

import asyncio
import re
from contextlib import suppress
from html import unescape

import httpx
from pydantic import BaseModel, HttpUrl

import hasty

AT_ONCE, AT_MOST = 8, 500
HREF = re.compile(r"""<a\b[^<>]*?\shref=["']([^"'#<>]+)""", re.IGNORECASE)


class Site(BaseModel):
    """Where to begin. Links to other hosts are not followed."""

    start: HttpUrl


class Found(BaseModel):
    """How many pages were visited, and which of them were not there."""

    pages: int
    broken: list[str]


@hasty.handler(timeout=60, retries=3, retry_on=(httpx.TransportError, httpx.HTTPStatusError))
async def crawl(job: hasty.JobContext, site: Site) -> Found:
    """Visit what the pages of a site link to, and what those link to."""
    known, done = {httpx.URL(str(site.start)): 0}, 0  # the status of each address; 0: not visited yet
    async with httpx.AsyncClient() as client:
        while now := list(known)[done : min(done + AT_ONCE, AT_MOST)]:
            visits = [visit(client, url, known) for url in now]
            for error in filter(None, await asyncio.gather(*visits, return_exceptions=True)):
                raise error  # not before all have ended: none of them is left at work
            done += len(now)
            job.progress(done / len(known), f"{done} pages")
    return Found(pages=done, broken=[str(url) for url in known if httpx.codes.is_error(known[url])])


async def visit(client: httpx.AsyncClient, url: httpx.URL, known: dict[httpx.URL, int]) -> None:
    """Note the status of a page, and its links. Raises where a later attempt may find more."""
    async with client.stream("GET", url) as page:
        if page.is_server_error or page.status_code == httpx.codes.TOO_MANY_REQUESTS:
            page.raise_for_status()
        # Only HTML has links. The rest may be large, and is not read.
        html = await page.aread() if "html" in page.headers.get("content-type", "") else b""
    known[url] = page.status_code
    for href in HREF.findall(html.decode(errors="replace")) + page.headers.get_list("location"):
        with suppress(httpx.InvalidURL, ValueError):
            link = url.join(unescape(href))
            if link.netloc == url.netloc and link.scheme.startswith("http"):
                known.setdefault(link, 0)

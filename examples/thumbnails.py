"""Thumbnails of a picture: work for the CPU, so the handler is not async and may block.

It runs in a process that may be killed at any moment. So a file gets its name only when it is
whole, and a second start makes them all again.
"""

import os
from pathlib import Path
from typing import Annotated

from PIL import Image, ImageOps
from pydantic import BaseModel, Field

import hasty

Pixels = Annotated[int, Field(ge=16, le=4096)]


class Picture(BaseModel):
    """A file in the folder that the variable PICTURES names, and how large its thumbnails may be."""

    path: str
    sizes: Annotated[list[Pixels], Field(min_length=1, max_length=10)] = [64, 256, 1024]


class Thumbnails(BaseModel):
    """The names of the files, which are beside the picture."""

    files: list[str] = []


@hasty.handler(timeout=60)
def thumbnails(job: hasty.JobContext, picture: Picture) -> Thumbnails:
    """Make a thumbnail of each size."""
    folder = Path(os.environ["PICTURES"]).resolve()
    source = (folder / picture.path).resolve()
    # The path comes from a client: neither `..` nor a link may lead to other files of this machine.
    if not source.is_relative_to(folder):
        raise PermissionError(f"{picture.path} is not in the folder of pictures")
    for left_by_a_killed_attempt in source.parent.glob(f".{job.job_id}-*"):
        left_by_a_killed_attempt.unlink(missing_ok=True)
    part, made = source.with_name(f".{job.job_id}-{job.attempt}"), Thumbnails()
    with Image.open(source, formats=("JPEG", "PNG", "WEBP")) as opened:
        image = ImageOps.exif_transpose(opened)
    try:
        # The largest first: each is made from the one before, which is less to compute.
        for done, size in enumerate(sorted(picture.sizes, reverse=True), 1):
            if job.cancelled():
                break  # what is there is whole, and nobody waits for the rest
            image.thumbnail((size, size))
            image.save(part, "WEBP")
            made.files.append(part.replace(source.with_name(f"{source.name}-{size}.webp")).name)
            job.progress(done / len(picture.sizes), f"{size} pixels")
    finally:
        part.unlink(missing_ok=True)
    return made

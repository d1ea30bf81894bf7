"""The vector of a text, by a model that stays warm.

A handler that is not async runs in a child process of its worker, and that process stays for the
next job. What was loaded for one job is there for all that follow. `waited_ms` in the result shows
what that is worth: some hundred milliseconds for the first job of a process, nothing after it.
"""

import functools
import time
import zlib
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field

import hasty

SEED, BUCKETS, WIDTH = 7, 2**15, 256


class Text(BaseModel):
    """What to embed."""

    text: Annotated[str, Field(max_length=20_000)]


class Embedding(BaseModel):
    """A vector of length 1, and how long the job waited for the model."""

    vector: list[float]
    waited_ms: float


@functools.cache
def model() -> npt.NDArray[np.float32]:
    """Load the model, once for each process. Here it is drawn: from one seed, so all have the same.

    Not when this file is imported: Gateways import it too, and need no model.
    """
    return np.random.default_rng(SEED).standard_normal((BUCKETS, WIDTH), dtype=np.float32)


# A model that needs a GPU gets workers of its own: pool="gpu" here, and [pools.gpu] in the settings.
@hasty.handler(timeout=30)
def embed(text: Text) -> Embedding:
    """Add up a random vector for each three letters of a text: similar texts get similar sums."""
    began = time.perf_counter()
    weights = model()
    waited_ms = (time.perf_counter() - began) * 1000
    padded = f"  {text.text.lower()} "
    trigrams = (padded[at : at + 3].encode() for at in range(len(padded) - 2))
    # Not hash(): Python salts it, and each process would put the same text somewhere else.
    vector = weights[[zlib.crc32(trigram) % BUCKETS for trigram in trigrams]].sum(axis=0, dtype=float)
    vector /= np.linalg.norm(vector)
    return Embedding(vector=vector.round(5).tolist(), waited_ms=round(waited_ms, 3))

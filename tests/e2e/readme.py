"""What the README shows: its commands, and its handler."""

import re
import shlex

from tests.running import ROOT

README = (ROOT / "README.md").read_text()


def commands() -> list[list[str]]:
    """The shell commands of the README, in its order."""
    blocks = re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    return [shlex.split(line, comments=True) for block in blocks for line in block.splitlines()]


RUN, TEST, POST, GET, UP, POST_V1, GET_V1, SUBMIT = commands()

#: Its `shop.py`, and its client.
SHOP, CLIENT = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)

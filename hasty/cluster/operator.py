"""A process that deploys hasty and stays to drain it: what `hasty up` has beside Ray.

It is told what to do by lines on its standard input, and says how it goes by lines on its
standard output. It is a process of its own because a Ray driver ends when its node does,
and whoever looks after the node must not.

    hears  deploy                   once Ray is up; until then it imports what takes long
    says   told some words          how far it is, where workers are replaced
    says   deployed                 once the replicas run
    hears  join                     instead of deploy, where its predecessor did that
    says   joined
    hears  drain 60                 seconds
    says   running 12               whenever that changes
    says   drained 0                jobs still running; the process ends
    says   failed some reason       at any time, and ends
"""

import os
import sys

from hasty.cluster import system
from hasty.errors import CannotStart
from hasty.settings import Settings


def main() -> int:
    """Obey, by the settings in the environment. Ends when its input does."""
    try:
        for line in sys.stdin:
            command, _, rest = line.strip().partition(" ")
            if command == "deploy":
                system.connect(os.environ["RAY_ADDRESS"])
                system.deploy(Settings.load(os.environ), lambda told: _say(f"told {told}"))
                _say("deployed")
            elif command == "join":
                system.connect(os.environ["RAY_ADDRESS"])
                _say("joined")
            elif command == "drain":
                left = system.drain(float(rest), lambda running: _say(f"running {running}"))
                _say(f"drained {left}")
                break
    except CannotStart as error:
        _say(f"failed {error}")
        return 2
    except Exception as error:  # noqa: BLE001  the supervisor must hear of it, whatever it is
        _say(f"failed {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
        return 1
    return 0


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201  the protocol


if __name__ == "__main__":
    sys.exit(main())

"""Receives webhooks: lets in what is genuine, and acts on it once, however often it comes.

It needs `pip install hasty`, and nothing of the server. Ends of jobs are written into a database.
"""

import os
import sqlite3
import sys
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from hasty.errors import NotVerified
from hasty.webhooks import Message, verify

SECRET = os.environ["HASTY_WEBHOOK_SECRET"]
DATABASE = os.environ.get("ENDS", "ends.db")
LONGEST = 4 * 1024 * 1024  # Nothing that hasty sends is longer.


def act_once(message: Message) -> bool:
    """Write down how a job ended, unless that was done; say whether it was not."""
    with closing(sqlite3.connect(DATABASE)) as database, database:
        database.execute("CREATE TABLE IF NOT EXISTS seen (id TEXT PRIMARY KEY)")
        database.execute("CREATE TABLE IF NOT EXISTS ends (job_id TEXT, status TEXT)")
        new = database.execute("INSERT OR IGNORE INTO seen VALUES (?)", (message.id,)).rowcount == 1
        if new:
            # In the same transaction: whoever dies here has neither seen it nor acted on it.
            job = message.content["data"]
            database.execute("INSERT INTO ends VALUES (?, ?)", (job["job_id"], job["status"]))
    return new


class Receiver(BaseHTTPRequestHandler):
    """Answers 2xx when all is done that there is to do; anything else, and hasty comes again."""

    timeout = 10

    def do_POST(self) -> None:
        """Take one message."""
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > LONGEST:
            return self.send_error(413)
        try:
            # The bytes as they came: parsed and written again they would not verify.
            message = verify(SECRET, self.headers, self.rfile.read(int(length)))
        except NotVerified as refused:
            return self.send_error(401, str(refused))
        self.send_response(200, "Done" if act_once(message) else "Done before")
        return self.end_headers()


if __name__ == "__main__":
    # hasty sends several at once.
    ThreadingHTTPServer.request_queue_size = 64
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Receiver)
    sys.stdout.write(f"receiving on http://127.0.0.1:{server.server_port}\n")
    sys.stdout.flush()
    server.serve_forever()

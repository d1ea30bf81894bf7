"""Real MongoDB servers that freeze, die, change over, roll back and lose replies, under the real actors."""

"""HTTP: requests become messages, answers become HTTP. Nothing is decided here."""

"""Everything on one machine: an embedded MongoDB, a Ray head, and `hasty up` over both."""

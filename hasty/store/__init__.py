"""Where the truth is kept: the promises (base), a reference (memory) and MongoDB (mongo)."""

"""verify, as far as it is pure: what to send over which link, what should arrive where, and what it means if not."""

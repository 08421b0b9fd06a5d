"""Keeping a lab at what its file says, the pure part: what a notification means, what to look at, when to leave off."""

"""The decisions of a watch: what a notification means, what to look at, what to leave alone for a while. Pure."""

"""Names -> namespaces: what a node of the topology refers to."""

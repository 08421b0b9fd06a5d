"""All system calls: libc, namespaces, netlink sockets, limits. They block: the engine calls them in worker threads."""

"""Every system call: libc, namespaces, netlink sockets, limits. Blocking; the engine calls it from worker threads."""

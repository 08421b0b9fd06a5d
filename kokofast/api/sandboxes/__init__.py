"""Sandboxes for programs: the program goes on as it is, and a process of ours works in the namespaces of the sandbox.

A process with threads cannot enter a user namespace. So the first sandbox of a program starts a helper (helper.py), a
process with a single thread and everything imported, which forks one process for each sandbox (worker.py). Their
messages are channel.py's. All of them end with the program.
"""

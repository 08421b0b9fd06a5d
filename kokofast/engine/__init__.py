"""The trio scheduler: runs a plan in worker threads, bounded and cancellable, and takes back what it made."""

"""How a run gets its work done: in the calling thread, or by worker threads under trio."""

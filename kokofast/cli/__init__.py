"""The command line: the only room that prints. argv -> a call into the library -> output, exit code."""

"""The command line: the only package that prints. argv -> a call into the library -> output, exit code."""

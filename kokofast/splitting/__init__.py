"""A lab on many machines: the whole topology -> an ordinary file for each host, and a timeline for each. Pure."""

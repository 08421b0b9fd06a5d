"""Make topologies: shapes -> the plain tree that a file holds. Pure.

One module has the shapes of a family; wiring.py numbers the interfaces of all of them and gives their links addresses.
"""

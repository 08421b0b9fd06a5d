"""What a machine lacks for a lab. Pure: judges what engine/examine.py has found.

A check is a function of checks.py. Facts are what was found, Needs what the file asks for.
"""

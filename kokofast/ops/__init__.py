"""The operations on the kernel, a module each: execute, undo, locate and describe. They block; threads call them."""

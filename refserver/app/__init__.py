"""The program: its settings, its commands, and the only place where objects are wired together.

Nothing below imports this package; only here is the reactor imported.
"""

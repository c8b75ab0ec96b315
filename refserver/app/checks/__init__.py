"""What `refserverctl check` looks at: one module an area, each a function that returns findings.

Nothing is changed by looking. A finding says in plain words what is, and how to mend it where it is wrong.
"""

"""What `refserverctl` is typed and prints: click commands, one module an area.

Owns words, options, prompts, tables and JSON. What is done is refserver/app/verbs; whether a running server
does it or this process is caller.py.
"""

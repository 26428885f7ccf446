"""Every client of the broker can write to it: what is read from it is checked here before Celery sees it.

items.py      an item of a queue or channel, as bytes, and what is wrong with it; dropping it
transport.py  kombu's Redis transport, reading defensively
replies.py    what Redis answers, within a bound of memory
key_types.py  keys that hold another type than theirs: renamed, and the command repeated
messages.py   a task message: its headers and its body, on any broker
signing.py    the signature of a message, with SIGN_MESSAGES
commands.py   remote control: which commands a worker follows
"""

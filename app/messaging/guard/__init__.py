"""Between us and whoever may write to the broker: what is read from it is checked before Celery sees it.

items.py      an item of a queue or channel, as bytes, and what is wrong with it; the one way to drop something
transport.py  kombu's Redis transport, reading defensively
messages.py   a task message: its headers and its body, on any broker
signing.py    the signature of a message, with SIGN_MESSAGES
commands.py   remote control: which commands a worker follows
"""

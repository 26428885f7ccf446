"""Every client of the broker can write to it: what is read from it is checked here before Celery sees it.

items.py         an item of a queue or channel, as bytes, and what is wrong with it; dropping it
transport.py     kombu's Redis transport, reading defensively
redis_client.py  what Redis answers, within a bound of memory; keys that hold another type than theirs
messages.py      a task message: its headers, its body and its signature, on any broker
commands.py      remote control: which commands a worker follows
"""

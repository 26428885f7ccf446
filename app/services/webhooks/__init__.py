"""Webhooks: what is recorded of events, and who sends it when (docs/adr/0057). Their API: `service`.

The way of an event: `new_deliveries` writes a delivery for each receiver, in the transaction that hands the event
over. `sender` has `lanes` look for lanes with due deliveries and say how many of each may be sent, `queue` takes them
and makes the requests, and `sender` writes what came of many, and what that says of endpoints.
"""

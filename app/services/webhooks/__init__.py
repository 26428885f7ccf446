"""Webhooks: what is recorded of events, and who sends it when (docs/adr/0057). Their API: `webhook_service`.

The way of an event: `recording` writes a delivery for each receiver, in the transaction that hands the event over.
`sender` has `due_lanes` look for lanes with due deliveries, `lanes` says how many of each may be sent, `queue` takes
them, `sending` makes one request, `outcomes` writes what came of many, and `health` what that says of endpoints.
"""

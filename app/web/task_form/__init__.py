"""The form of a new task: fields from JSON Schema, what was typed as a task, and a task as if it had been typed.

Inputs are named by their places: `kwargs.address.street`, `kwargs.items.0.name`. An input that is left empty is left
out, so that the parameter's default holds.
"""

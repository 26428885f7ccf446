"""The MCP endpoint (Model Context Protocol): the tasks that an API key may run, as tools of a language model's client.

https://modelcontextprotocol.io/specification/latest
"""

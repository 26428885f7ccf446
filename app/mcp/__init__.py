"""The MCP endpoint (Model Context Protocol): the tasks that an API key may run, as tools.

https://modelcontextprotocol.io/specification/latest
"""

"""The edges: REST, websockets, browser pages, command line, and where it is all put together."""

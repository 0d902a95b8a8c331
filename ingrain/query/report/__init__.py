"""`ingrain report`: a time of an archive as one HTML file, with plots that can be pointed at; it needs no network.

`sections` say what is asked and how it is drawn, `figures` asks DuckDB, `stacks`, `ribbons` and `strips` draw SVG,
`page` puts it together. What is drawn also stands in the page as JSON.
"""

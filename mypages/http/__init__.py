"""My Pages over HTTP: routes, one page's way from request to answer, responses, the OpenAPI document.

What a page shows is in `views`, where it comes from in `data`.
"""

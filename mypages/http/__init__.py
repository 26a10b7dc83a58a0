"""HTTP: routes, controllers, responses and the OpenAPI description.

What a page shows is in `mypages.views`, where its data comes from in `mypages.data`, who may see it in `mypages.auth`.
"""

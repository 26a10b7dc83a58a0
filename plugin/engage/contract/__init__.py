"""What the project knows of Engage's API as an OpenAPI document, and the comparison with a tenant's own Swagger.

The client does not read it; tests hold client and sandbox to it.
"""

"""What the project knows of Engage's API as an OpenAPI document, and how it compares with a tenant's own Swagger."""

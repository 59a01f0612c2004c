"""The known fields of each kind of request as JSON Schema, for the OpenAPI document and for checks."""

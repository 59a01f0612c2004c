"""What each kind of request may say, as JSON Schema: for the OpenAPI document, and to know every field."""

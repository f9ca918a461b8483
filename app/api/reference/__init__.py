"""What `/docs` and `/redoc` show: the OpenAPI document, its examples, and the pages."""

"""A small OpenID Connect relying-party library: authorization code flow with PKCE. It knows nothing of the service around it."""

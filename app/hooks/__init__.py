"""Identity providers that call this service while they mint a token: one file a provider."""

"""IDV Gateway: identity verification at login, for any identity provider, over HTTP."""

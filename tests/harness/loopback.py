import ssl

NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For calls of http:// on loopback: to read the machine's certificates for each client takes longer than most calls."""

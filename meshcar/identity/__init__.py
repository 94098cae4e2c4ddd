"""Who somebody is: SPIFFE ids, credentials, X-Forwarded-Client-Cert."""

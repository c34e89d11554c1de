"""Login by OpenID Connect, beside passwords: authorization code flow with PKCE, state and nonce.

settings.py  issuer, client, secret: from options and environment. The only file that is read where nobody wants this
provider.py  what is said to the provider, by Authlib: discovery, the code for a token, the token verified
attempt.py   what a browser must bring back, in a signed cookie of ten minutes
accounts.py  which account a verified subject is; a session like any other
routes.py    /login/oidc, /join/TOKEN/oidc, /login/oidc/callback

Nobody gets in because the provider knows them: an admin has named their e-mail, or they were invited.
"""

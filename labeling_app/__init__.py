"""The labeling app: people rank answers in a browser, and the recipe goes on with their labels.

answers file ─► incoming ─► store ─► queue ─► views (blind) ─► a page
                              ▲                                  │
rankings file ◄─ outgoing ◄───┴──────────── labels ◄─────────────┘

store/       tables, migrations, one writer at a time, backup, verification
people.py    accounts, login, sessions, invitations
identities.py oidc/   who they are at an OpenID provider, and the login by it
projects.py  disputes.py   settings of a project, and what a reviewer is to decide in it
queue.py     who sees what next; views.py is all that a page may know of it
labels.py    submit, skip, undo, drafts; every one a new version beside its event
incoming.py  outgoing.py  shapes.py   files in and out
agreement.py quality.py   numbers about annotators
goals.py     how far the items of a recipe's stage are
server.py    login pages; the ranking page is mounted behind them
commands.py  project_commands.py   `align labels ...`
"""
